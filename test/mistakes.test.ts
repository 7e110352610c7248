/** What a newcomer reads who has written an option wrongly. */

import { execFile } from "node:child_process";
import Module from "node:module";
import path from "node:path";
import { promisify } from "node:util";
import { describe, expect, onTestFinished, test } from "vitest";
import { creditMeter } from "../src/index.ts";
import { createLedger } from "../src/ledger/index.ts";
import { tokens } from "../src/usage/index.ts";

const minimal = { plans: ["1059"], environment: "sandbox", apiKey: "nvm:key", journal: "memory" };
const secret = "a-value-that-may-be-secret";

async function messageOf(run: () => unknown): Promise<string> {
  try {
    await run();
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error("It was accepted.");
}
const ofMeter = (options: object) =>
  messageOf(() => creditMeter({ ...minimal, ...options } as never));

describe("a value of the wrong kind is told in this package's words, and is not repeated", () => {
  const options = [
    ...["protocol", "x402", "plans", "routes", "apiKey", "environment", "payment", "unlisted"],
    ...["refuse", "chargeWhen", "abortGraceMs", "guard", "concurrency", "perHolder", "circuit"],
    ...["idempotent", "journal", "durability", "inline", "backlog", "maxLive", "retentionDays"],
    ...["exitWaitMs", "maxUnderWay", "maxUnderWayBytes", "timeoutMs", "backoff", "logger"],
  ];
  const nested: Record<string, readonly string[]> = {
    guard: [
      ...["balance", "balanceTtlMs", "refusalTtlMs", "creditLine", "maxExposure", "blockForMs"],
      ...["onLedgerDown", "scope", "maxQuestions", "proofs", "verifyProof"],
    ],
    x402: ["publicUrl", "agentId", "description", "mimeType", "verify"],
    backlog: ["count", "bytes", "ageMs"],
    backoff: ["baseMs", "maxMs"],
    idempotent: ["windowMs"],
    environment: ["name", "baseUrl", "redeemPath"],
    payment: ["planId", "holderAddress", "proof"],
  };
  const values = [Symbol(secret), null, -1, 1.5, 2 ** 60, [secret, 7], Number.NaN, true];
  const checker = /Invalid |expected|received|[Tt]oo (small|big)|undefined|NaN/;

  test.each(options)("%s", async (option) => {
    for (const value of values) {
      if (option === "inline" && value === true) continue;
      const text = await ofMeter({ [option]: value });
      expect(text).not.toMatch(checker);
      expect(text).not.toContain(secret);
      expect(text).toContain(option);
    }
  });

  test.each(Object.entries(nested).flatMap(([option, keys]) => keys.map((key) => [option, key])))(
    "%s.%s",
    async (option = "", key = "") => {
      const rest = option === "environment" ? { name: "x", baseUrl: "http://127.0.0.1:1" } : {};
      for (const value of values) {
        const text = await ofMeter({ [option]: { ...rest, [key]: value } });
        expect(text).not.toMatch(checker);
        expect(text).not.toContain(secret);
        expect(text).toContain(option);
      }
    },
  );

  test.each([null, 7, "x", [], { input: 1 }, { input: 1, output: 1, per: 0 }])(
    "tokens(%j)",
    async (rates) => {
      expect(await messageOf(() => tokens(rates as never))).not.toMatch(checker);
    },
  );

  test.each([
    { port: "x" },
    { port: 70_000 },
    { keys: 7 },
    { keys: [] },
    { idempotency: "honor" },
    { buyers: [{}] },
    { plans: { p: { maxPerRedeem: 1.5 } } },
  ])("createLedger(%j)", async (options) => {
    expect(await messageOf(() => createLedger(options as never))).not.toMatch(checker);
  });
});

describe("a misspelt option is told its right name", () => {
  test.each([
    [{ rutes: {} }, 'there is no option rutes (did you mean "routes"'],
    [{ Routes: {} }, 'did you mean "routes"'],
    [
      { guard: { creditline: 1 } },
      'there is no option guard.creditline (did you mean "guard.creditLine"',
    ],
    [{ creditLine: 1 }, 'did you mean "guard.creditLine"'],
    [{ backoff: { base: 1 } }, 'did you mean "backoff.baseMs"'],
    [{ routes: { "GET /": { price: 1, chargewhen: () => true } } }, 'did you mean "chargeWhen"'],
    [{ backoff: { seconds: 1 } }, "there are backoff.baseMs, backoff.maxMs"],
    [{ protocol: "x402", x402: { publicURL: "https://x" } }, 'did you mean "x402.publicUrl"'],
  ])("%j", async (options, says) => {
    expect(await ofMeter(options)).toContain(says);
  });

  test("in tokens()", async () => {
    const text = await messageOf(() => tokens({ input: 1, output: 1, cachedinput: 1 } as never));
    expect(text).toContain('did you mean "cachedInput"');
  });

  test("in createLedger()", async () => {
    expect(await messageOf(() => createLedger({ prot: 1 } as never))).toContain(
      'did you mean "port"',
    );
  });
});

describe("a price", () => {
  const priced = (price: unknown) => ofMeter({ routes: { "GET /": price } });

  test("as text is told from a number", async () => {
    expect(await priced("2")).toContain('It is the text "2".');
  });

  test("that is fixed asks for its hold to be left out", async () => {
    expect(await priced({ price: 1, hold: 2 })).toContain(
      "leave hold out: a fixed price is its own hold",
    );
  });
});

test("a missing pg is told with its mend, and no other", async () => {
  const loader = Module as unknown as {
    _resolveFilename(name: string, ...rest: unknown[]): string;
  };
  const original = loader._resolveFilename;
  onTestFinished(() => {
    loader._resolveFilename = original;
  });
  // As in a project that has not installed it.
  loader._resolveFilename = (name, ...rest) => {
    if (name === "pg") throw new Error("Cannot find module 'pg'");
    return original(name, ...rest);
  };
  expect(await ofMeter({ journal: { postgres: "postgres://db/credits" } })).toBe(
    'A journal in PostgreSQL needs the package "pg", which is not installed: npm install pg. [journal-unusable]',
  );
});

describe("--help of each bench", () => {
  const root = path.resolve(import.meta.dirname, "..");
  const run = (name: string, ...args: string[]) =>
    promisify(execFile)(
      process.execPath,
      ["--import", "tsx", path.join(root, `bench/${name}/main.ts`), ...args],
      { cwd: root, env: { ...process.env, TSX_TSCONFIG_PATH: "tsconfig.build.json" } },
    ).then(
      (ended) => ({ code: 0, ...ended }),
      (error: { code: number; stdout: string; stderr: string }) => error,
    );
  const names = ["admission", "attack", "fleet", "fuzz", "journal", "stream", "torture", "x402"];

  test.each(names)("%s", { timeout: 60_000 }, async (name) => {
    const help = await run(name, "--help");
    expect(help).toMatchObject({ code: 0, stderr: "" });
    expect(help.stdout).toMatch(/^Usage: npm run /);
    const wrong = await run(name, "--nonsense");
    expect(wrong).toMatchObject({ code: 2, stdout: "" });
    expect(wrong.stderr).toMatch(/--nonsense.*\n\nUsage: npm run /);
    expect(wrong.stderr).not.toContain("    at ");
  });
});
