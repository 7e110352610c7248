import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import express from "express";
import { describe, expect, onTestFinished, test } from "vitest";
import { listen } from "../support/server.ts";

const root = path.resolve(import.meta.dirname, "../..");
const main = path.join(root, "examples/quickstart/main.ts");

interface Quickstart {
  readonly child: ChildProcess;
  /** All that was printed so far, to both outputs. */
  printed(): string;
  /** Resolves with all that was printed once it contains the text so many times. */
  prints(text: string, times?: number): Promise<string>;
}

function start(
  variables: Record<string, string>,
  prepare: (folder: string) => void = () => {},
): Quickstart {
  // It makes its journal in the folder in which it is started.
  const folder = mkdtempSync(path.join(tmpdir(), "quickstart-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  prepare(folder);
  const child = spawn(process.execPath, ["--import", import.meta.resolve("tsx"), main], {
    cwd: folder,
    env: {
      ...process.env,
      // The built package, as a user has it.
      TSX_TSCONFIG_PATH: path.join(root, "tsconfig.build.json"),
      OPENAI_BASE_URL: "",
      OPENAI_API_KEY: "",
      ...variables,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  onTestFinished(() => {
    if (child.exitCode === null) child.kill("SIGKILL");
  });
  let text = "";
  const waiting = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on("line", (line) => {
      text += `${line}\n`;
      for (const check of waiting) check();
    });
  }
  return {
    child,
    printed: () => text,
    prints: (wanted, times = 1) =>
      new Promise((resolve) => {
        const check = () => {
          if (text.split(wanted).length <= times) return;
          waiting.delete(check);
          resolve(text);
        };
        waiting.add(check);
        check();
      }),
  };
}

const shell = promisify(execFile);
const curl = await shell("curl", ["--version"]).then(
  () => true,
  () => false,
);

test.skipIf(!curl)(
  "the curl lines work when pasted, each call is logged, Ctrl-C ends it",
  async () => {
    const quickstart = start({ PORT: "0", LEDGER_PORT: "0" });
    const welcome = await quickstart.prints("Ctrl-C");
    const lines = welcome.split("\n").filter((line) => line.startsWith("curl "));
    expect(lines).toHaveLength(5);
    const answers: string[] = [];
    for (const [index, line] of lines.entries()) {
      answers.push((await shell("sh", ["-c", line])).stdout);
      // Its charge comes after the answer.
      if (index < 3) await quickstart.prints('"status":"completed"', index + 1);
    }
    const [paid, streamed, fixed, refused, balance] = answers as [
      string,
      string,
      string,
      string,
      string,
    ];
    expect(paid).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(paid).toMatch(/^Redemption-Id: [0-9a-f-]{36}\r$/im);
    expect(paid).toContain('"total_tokens":25');
    expect(streamed.split("\n\n").length).toBeGreaterThan(20);
    expect(streamed.trimEnd()).toMatch(/data: \[DONE\]$/);
    expect(JSON.parse(fixed).object).toBe("list");
    expect(refused).toMatch(/^HTTP\/1\.1 402 Payment Required\r\n/);
    expect(refused).toContain('"code":"payment-required"');
    expect(JSON.parse(balance).balance).toBe(10_000 - 25 - 25 - 2);

    quickstart.child.kill("SIGINT");
    const [code, signal] = await once(quickstart.child, "exit");
    expect([code, signal]).toEqual([0, null]);
    const log = quickstart.printed().split("Ctrl-C")[1] ?? "";
    expect(log.match(/"requestedAmount":\d+/g)).toEqual([
      '"requestedAmount":25',
      '"requestedAmount":25',
      '"requestedAmount":2',
    ]);
    // The proof and the key of the demonstration, in pino's own output.
    expect(log).not.toContain("0xdemo");
    expect(log).not.toContain("nvm:");
  },
);

test("a port in use is said in one line, with what to do", async () => {
  const { port } = await listen(() => {});
  for (const variable of ["PORT", "LEDGER_PORT"]) {
    const quickstart = start({ PORT: "0", LEDGER_PORT: "0", [variable]: String(port) });
    const [code] = await once(quickstart.child, "close");
    expect(code).toBe(1);
    expect(quickstart.printed()).toContain(String(port));
    expect(quickstart.printed()).not.toContain("    at ");
  }
});

test.each([
  [
    "a ledger's port that is none",
    { LEDGER_PORT: "70000" },
    "LEDGER_PORT must be a port",
    () => {},
  ],
  ["a port that is none", { PORT: "abc" }, "PORT must be a port", () => {}],
  [
    "a folder in which no journal can be made",
    {},
    "[journal-unusable]",
    // Also for root, who may write everywhere.
    (folder: string) => writeFileSync(path.join(folder, ".credit-meter"), ""),
  ],
])("%s is said, and the process ends with a code", async (_name, variables, says, prepare) => {
  const quickstart = start({ PORT: "0", LEDGER_PORT: "0", ...variables }, prepare);
  await quickstart.prints(says);
  // The last resort is the test's own time.
  const [code] = await once(quickstart.child, "close", { signal: AbortSignal.timeout(15_000) });
  expect(code).toBe(1);
  expect(quickstart.printed()).not.toContain("    at ");
});

describe("with a real upstream", () => {
  /** Speaks OpenAI's API, as far as the example needs it, in chunks that split events and characters. */
  async function upstream() {
    const seen: { authorization: string | undefined; body: Record<string, unknown> }[] = [];
    const app = express();
    app.use(express.json());
    const usage = { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 };
    app.post("/v1/chat/completions", async (req, res) => {
      seen.push({ authorization: req.headers.authorization, body: req.body });
      if (!req.body.stream) {
        res.json({ object: "chat.completion", choices: [], usage });
        return;
      }
      const chunk = (fields: object) => `data: ${JSON.stringify(fields)}\n\n`;
      const bytes = Buffer.from(
        chunk({ choices: [{ delta: { content: "grüß" } }], usage: null }) +
          chunk({ choices: [], usage }) +
          "data: [DONE]\n\n",
      );
      res.type("text/event-stream");
      for (let at = 0; at < bytes.length; at += 7) {
        res.write(bytes.subarray(at, at + 7));
        await new Promise(setImmediate);
      }
      res.end();
    });
    app.post("/v1/embeddings", (_req, res) => void res.status(429).send("slow down"));
    const { url } = await listen(app);
    return { seen, url: `${url}/v1` };
  }

  test("passes requests on, and prices by its usage", async () => {
    const { seen, url } = await upstream();
    const quickstart = start({
      PORT: "0",
      LEDGER_PORT: "0",
      OPENAI_BASE_URL: url,
      OPENAI_API_KEY: "sk-upstream-secret",
    });
    const welcome = await quickstart.prints("Ctrl-C");
    const api = /^API +(\S+)/m.exec(welcome)?.[1];
    const headers = Object.fromEntries(
      [...welcome.matchAll(/-H '([\w-]+): ([^']+)'/g)].map((match) => [match[1], match[2]]),
    ) as Record<string, string>;
    const ask = (path: string, body: object) =>
      fetch(`${api}${path}`, {
        method: "POST",
        headers,
        body: JSON.stringify(body),
      });
    const messages = [{ role: "user", content: "hello" }];
    const plain = await ask("/v1/chat/completions", { messages });
    expect(await plain.json()).toMatchObject({ usage: { total_tokens: 7 } });
    await quickstart.prints('"requestedAmount":7', 1);

    const streamed = await ask("/v1/chat/completions", { messages, stream: true });
    const events = (await streamed.text()).split("\n\n").filter((event) => event !== "");
    // The usage that only we asked for is not passed on.
    expect(events).toHaveLength(2);
    expect(events[0]).toContain("grüß");
    expect(events[1]).toBe("data: [DONE]");
    await quickstart.prints('"requestedAmount":7', 2);

    const failed = await ask("/v1/embeddings", { input: "x" });
    expect(failed.status).toBe(429);
    expect(seen.map(({ authorization }) => authorization)).toEqual([
      "Bearer sk-upstream-secret",
      "Bearer sk-upstream-secret",
    ]);
    expect(seen[1]?.body).toMatchObject({ stream: true, stream_options: { include_usage: true } });
    expect(quickstart.printed()).not.toContain("sk-upstream-secret");
  });
});
