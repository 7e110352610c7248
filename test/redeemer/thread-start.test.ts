/** Threads that cannot start, and programs in which one is hard to start. */

import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";
import { expect, onTestFinished, test } from "vitest";
import { openDoor } from "../../src/open-door.ts";
import { readOptions } from "../../src/options.ts";
import { openThread } from "../../src/redeemer/thread.ts";
import { createReport } from "../../src/report.ts";
import { keepLines } from "../support/api.ts";

const root = path.resolve(import.meta.dirname, "../..");
const dist = (file: string) => pathToFileURL(path.join(root, "dist", file)).href;

function temporary(parent = tmpdir()) {
  mkdirSync(parent, { recursive: true });
  const folder = mkdtempSync(path.join(parent, "thread-start-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** One paid request, and what was burned for it. */
const program = (meter: string, ledger: string, express: string) => `
import { createLedger } from ${JSON.stringify(ledger)};
import { creditMeter } from ${JSON.stringify(meter)};
import express from ${JSON.stringify(express)};
async function main() {
  const ledger = await createLedger();
  const holderAddress = "0x" + "ab".repeat(20);
  ledger.mint({ planId: "1059", holderAddress, amount: 10 });
  const say = (_fields, line) => console.log(line);
  const meter = creditMeter({
    apiKey: ledger.key, plans: ["1059"], routes: { "GET /": 2 },
    environment: { name: "embedded", baseUrl: ledger.baseUrl },
    logger: { debug() {}, info() {}, warn: say, error: say },
  });
  const app = express().use(meter).get("/", (_req, res) => res.json({}));
  const server = app.listen(0, "127.0.0.1", async () => {
    await fetch("http://127.0.0.1:" + server.address().port, { headers: {
      "Nevermined-Plan-Id": "1059", "Nevermined-Holder-Address": holderAddress, "Nevermined-Proof": "0x1",
    } });
    await meter.flush();
    console.log("burned " + ledger.countBurns());
    server.close();
    server.closeAllConnections();
    await meter.close();
    await ledger.close();
  });
}
main().catch((error) => { console.log(error.message); process.exit(1); });
`;

async function run(cwd: string, ...args: string[]) {
  const ended = promisify(execFile)(process.execPath, args, { cwd, timeout: 20_000 });
  return ended.then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code: number; stdout: string; stderr: string }) => error,
  );
}

const ofDist = program(
  dist("index.js"),
  dist("ledger/index.js"),
  pathToFileURL(path.join(root, "node_modules/express/index.js")).href,
);

test("a program on node's command line charges", async () => {
  const { code, stdout } = await run(temporary(), "--input-type=module", "-e", ofDist);
  expect(stdout).toBe("burned 1\n");
  expect(code).toBe(0);
});

test("a thread that cannot start is told once, and what was asked is refused", async () => {
  const deaths: unknown[] = [];
  const told: unknown[] = [];
  const door = openThread({
    file: new URL("data:text/javascript,throw new Error('it cannot start')"),
    settings: {},
    exitWaitMs: 0,
    tell: (outcome) => told.push(outcome),
    onDeath: (error) => deaths.push(error),
  });
  onTestFinished(() => door.ask("stop", {}));
  await expect(door.ask("list", { limit: 1 })).rejects.toThrow(
    /ends again and again: it cannot start/,
  );
  await expect(door.ask("list", { limit: 1 })).rejects.toThrow(
    /ends again and again: it cannot start/,
  );
  expect(deaths).toHaveLength(1);
});

test("a worker's file is not known by its name", async () => {
  const folder = temporary();
  const file = path.join(folder, "worker.js");
  writeFileSync(file, "throw new Error('this is the worker of the application');");
  const { lines, logger } = keepLines();
  const settings = readOptions(
    { plans: ["1059"], environment: "sandbox", apiKey: "nvm:key", journal: "memory" },
    {},
  );
  const door = openDoor(settings, createReport(logger, new Set()), () => {}, pathToFileURL(file));
  onTestFinished(() => door.ask("stop", {}));
  expect(await door.ask("totals", {})).toMatchObject({ pending: 0 });
  expect(lines.map(({ level, message }) => `${level} ${message}`)).toEqual([
    expect.stringMatching(/^warn The worker's file is not there/),
  ]);
});

async function bundle(format: "esm" | "cjs", folder: string) {
  const entry = path.join(folder, "app.mjs");
  writeFileSync(entry, program("express-credit-meter", "express-credit-meter/ledger", "express"));
  const outfile = path.join(folder, format === "esm" ? "out.mjs" : "out.cjs");
  const require = "import { createRequire } from 'node:module';";
  await build({
    ...{
      entryPoints: [entry],
      outfile,
      format,
      bundle: true,
      platform: "node",
      logLevel: "silent",
    },
    alias: {
      "express-credit-meter/ledger": path.join(root, "dist/ledger/index.js"),
      "express-credit-meter": path.join(root, "dist/index.js"),
      express: path.join(root, "node_modules/express"),
    },
    // Express itself asks for this much of an ESM bundle.
    ...(format === "esm" && {
      banner: { js: `${require} const require = createRequire(import.meta.url);` },
    }),
  });
  // A file of the application's, with an unlucky name.
  writeFileSync(path.join(folder, "worker.js"), "process.stdout.write('the wrong worker');");
  return outfile;
}

test.each(["esm", "cjs"] as const)(
  "a bundle (%s) charges, in the thread that serves requests",
  { timeout: 60_000 },
  async (format) => {
    // Below node_modules, where SQLite's package is found.
    const folder = temporary(path.join(root, "node_modules/.cache"));
    const { code, stdout } = await run(folder, await bundle(format, folder));
    expect(stdout).toMatch(/^The worker's file is not there.*\nburned 1\n$/);
    expect(code).toBe(0);
  },
);

test.each(["esm", "cjs"] as const)(
  "a bundle (%s) without SQLite beside it says what is missing",
  { timeout: 60_000 },
  async (format) => {
    const folder = temporary();
    const { code, stdout } = await run(folder, await bundle(format, folder));
    expect(stdout).toContain('install the package "libsql"');
    expect(stdout).not.toContain("    at ");
    expect(code).toBe(1);
  },
);

const permission = process.allowedNodeEnvironmentFlags.has("--permission")
  ? "--permission"
  : "--experimental-permission";

test("Node's permission model without addons is told in a sentence", async () => {
  const folder = temporary();
  writeFileSync(path.join(folder, "app.mjs"), ofDist);
  const { code, stdout } = await run(folder, permission, "--allow-fs-read=*", "app.mjs");
  expect(stdout).toContain("--allow-addons");
  expect(stdout).not.toContain("    at ");
  expect(code).toBe(1);
});
