import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterEach, expect, test } from "vitest";

const main = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

function start(...args: string[]): ChildProcess {
  const child = spawn(process.execPath, ["--import", "tsx", main, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  return child;
}

/** Runs a command to its end. */
async function run(...args: string[]) {
  const child = start(...args);
  const text = { stdout: "", stderr: "" };
  child.stdout?.on("data", (chunk) => (text.stdout += chunk));
  child.stderr?.on("data", (chunk) => (text.stderr += chunk));
  const [code] = await once(child, "close");
  return { code, ...text };
}

/** Lines as they are said, up to the first that matches. */
async function linesUntil(child: ChildProcess, last: RegExp): Promise<string[]> {
  const lines: string[] = [];
  if (!child.stdout) throw new Error("The child has no output.");
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line);
    if (last.test(line)) return lines;
  }
  throw new Error(`The child ended before it said ${last}: ${lines.join("\n")}`);
}

test.each([[[]], [["--help"]], [["-h"]]])("%o says what commands there are", async (args) => {
  const { code, stdout } = await run(...args);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^Usage: express-credit-meter <command>[\s\S]*ledger/);
});

test("--version says the version", async () => {
  const { code, stdout } = await run("--version");
  expect(code).toBe(0);
  expect(stdout).toMatch(/^\d+\.\d+\.\d+\S*\n$/);
});

test("ledger --help says every option", async () => {
  const { code, stdout } = await run("ledger", "--help");
  expect(code).toBe(0);
  for (const option of [
    "port",
    "path",
    "key",
    "fund",
    "ignore-idempotency-keys",
    "request-ids",
    "json",
  ]) {
    expect(stdout).toContain(`--${option} `);
  }
});

test.each([
  [["ledgre"], /^There is no command "ledgre": see express-credit-meter --help\.\n$/],
  [["toString"], /^There is no command "toString"/],
  [["--prot"], /^There is no option "--prot"/],
  [
    ["ledger", "--prot", "1"],
    /^Unknown option '--prot' \(did you mean --port\?\): see express-credit-meter ledger --help\.\n$/,
  ],
  [["ledger", "extra"], /^Unexpected argument 'extra'[^\n]*ledger --help\.\n$/],
  [["ledger", "--port", "x"], /^Give --port a number from 0 to 65535, not "x"\.\n$/],
  [["ledger", "--port", "65536"], /^Give --port/],
  [["ledger", "--port"], /--port[^\n]*\n$/],
  [["ledger", "--fund", "plan:5"], /^Give --fund as/],
  [["ledger", "--fund", "plan:0x1:1.5"], /^Give --fund as/],
  [["ledger", "--fund", "plan:0x1:0"], /^Give --fund as/],
  [["ledger", "--key", ""], /^Give --key/],
  [
    ["ledger", "--request-ids", "perhaps"],
    /^Give --request-ids one of honour, ignore, repeat, none/,
  ],
])("%o is a mistake in usage", async (args, message) => {
  const { code, stdout, stderr } = await run(...args);
  expect(code).toBe(2);
  expect(stdout).toBe("");
  expect(stderr).toMatch(message);
});

test("a port in use ends it with 1 and a sentence", async () => {
  const taken = createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
  const { port } = taken.address() as AddressInfo;
  const { code, stderr } = await run("ledger", "--port", String(port));
  taken.close();
  expect(code).toBe(1);
  expect(stderr).toMatch(
    new RegExp(`^Port ${port} on 127\\.0\\.0\\.1 is in use: choose another.*\\n$`),
  );
});

test("the lines that it prints work when they are pasted", async () => {
  const child = start("ledger", "--port", "0", "--fund", "did:nv:o'clock & co:0xAb:50");
  const lines = await linesUntil(child, /plans\/redeem$/);
  const commands = lines.filter((line) => line.startsWith("curl "));
  expect(commands).toHaveLength(3);
  const said = [];
  for (const command of commands) said.push(JSON.parse(await shell(command)));
  expect(said).toMatchObject([
    { success: true, amount: 100, balance: 150 },
    { balance: 150, isSubscriber: true },
    { success: true, creditsRedeemed: 5, remainingBalance: 145 },
  ]);
});

test("the lines about x402 work when they are pasted together", async () => {
  const child = start(
    ...["ledger", "--port", "0", "--fund", "did:nv:o'clock & co:0xAb C:50"],
    ...["--request-ids", "none"],
  );
  const lines = await linesUntil(child, /x402\/settle$/);
  const [token = "", verify = "", settle = ""] = lines.slice(-3);
  const said = await shell([token, `${verify}; echo`, settle].join("\n"));
  expect(said.split("\n").map((line) => JSON.parse(line))).toEqual([
    { isValid: true, payer: "0xAb C", network: "eip155:84532" },
    expect.objectContaining({ success: true, creditsRedeemed: "5", remainingBalance: "45" }),
  ]);
});

test("a key that was given is needed, and not repeated", async () => {
  const child = start("ledger", "--port", "0", "--key", "nvm:mine-alone");
  const lines = await linesUntil(child, /plans\/redeem$/);
  expect(lines.join("\n")).not.toContain("mine-alone");
  const line = lines.find((each) => each.endsWith("plans/mint")) ?? "";
  expect(JSON.parse(await shell(line))).toMatchObject({ code: "BCK.APIKEY.0006" });
  expect(JSON.parse(await shell(line, { NVM_API_KEY: "nvm:mine-alone" }))).toMatchObject({
    success: true,
  });
});

test.each(["SIGTERM", "SIGINT"] as const)(
  "--json says one line, and %s ends it with 0",
  async (signal) => {
    const child = start(
      "ledger",
      "--port",
      "0",
      "--json",
      "--ignore-idempotency-keys",
      "--fund",
      "p:0x1:9",
    );
    const [line = ""] = await linesUntil(child, /./);
    const { baseUrl, port } = JSON.parse(line);
    expect(baseUrl).toBe(`http://127.0.0.1:${port}/api/v1`);
    for (const left of [8, 7]) {
      const answer = await fetch(`${baseUrl}/protocol/plans/redeem`, {
        method: "POST",
        headers: {
          authorization: "Bearer nvm:dev-key",
          "content-type": "application/json",
          "idempotency-key": "same",
        },
        body: JSON.stringify({ planId: "p", holderAddress: "0x1", amount: 1, proof: "0x" }),
      });
      expect(await answer.json()).toMatchObject({ remainingBalance: left });
    }
    child.kill(signal);
    expect(await once(child, "exit")).toEqual([0, null]);
  },
);

/** What a shell prints for a line; with no key in its environment unless one is given. */
function shell(line: string, env: Record<string, string> = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { env: { PATH: process.env.PATH ?? "", NVM_API_KEY: "", ...env } };
    execFile("sh", ["-c", line], options, (error, stdout) =>
      error ? reject(error) : resolve(stdout),
    );
  });
}
