/** The buyer that knows nothing but x402's headers: with the example's API, and with others. */

import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import type { RequestListener } from "node:http";
import path from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { fundedLedger, holder, plan } from "../support/api.ts";
import { listen } from "../support/server.ts";

const root = path.resolve(import.meta.dirname, "../..");
const buyer = path.join(root, "examples/x402-buyer.ts");

/** Never rejects: what a program that fails printed counts, too. */
function run(file: string, args: string[] = [], env: Record<string, string> = {}) {
  return promisify(execFile)(
    process.execPath,
    ["--import", import.meta.resolve("tsx"), file, ...args],
    // The built package, as a user has it.
    {
      env: { ...process.env, TSX_TSCONFIG_PATH: path.join(root, "tsconfig.build.json"), ...env },
      timeout: 15_000,
    },
  ).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    ({ code, stdout, stderr }) => ({ code, stdout, stderr }) as Ran,
  );
}
type Ran = { code: number; stdout: string; stderr: string };

const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64");
const offer = { scheme: "nvm:erc4337", network: "eip155:84532", planId: plan, extra: {} };
const required = { x402Version: 2, resource: { url: "/" }, accepts: [offer], extensions: {} };

/** Runs the buyer against a server that is not ours. */
async function buyFrom(respond: RequestListener, key?: string) {
  const ledger = await fundedLedger();
  const { url } = await listen(respond);
  const ran = await run(buyer, [url], {
    LEDGER_URL: ledger.baseUrl,
    BUYER_KEY: key ?? ledger.addBuyer(holder),
  });
  return { ...ran, ledger };
}

test("the buyer imports nothing", () => {
  expect(readFileSync(buyer, "utf8")).not.toMatch(/\b(?:import|require)\b/);
});

test("it pays the example's API: 402, permission, 200, settled", async () => {
  const { code, stdout, stderr } = await run(path.join(root, "examples/x402/main.ts"));
  expect([code, stderr]).toEqual([0, ""]);
  expect(stdout.trimEnd().split("\n")).toEqual([
    expect.stringMatching(/^1 ask {7}POST http:\/\/127\.0\.0\.1:\d+\/v1\/embeddings$/),
    expect.stringMatching(
      /^2 refused {3}402 payment-required: nvm:erc4337 on eip155:84532, plan \d+$/,
    ),
    expect.stringMatching(
      /^3 permitted 201 accessToken: nvm:erc4337 on .+, from 0x[0-9a-fA-F]{40}$/,
    ),
    expect.stringMatching(/^4 retry {5}200 \{"data":/),
    "5 settled   the balance was 100 credits, and is 98",
    expect.stringMatching(/^ {2}ledger {4}burned 2 credits for the request arId-[\w-]+$/),
  ]);
});

test("it offers no payment where none is asked for, and says so", async () => {
  const { code, stderr } = await buyFrom((_req, res) => res.end("free"));
  expect([code, stderr]).toEqual([1, "It answers 200, and asks for no payment.\n"]);
});

test("a key that the ledger does not know is said", async () => {
  const unpaid: RequestListener = (_req, res) => {
    res.writeHead(402, { "payment-required": encode(required) }).end();
  };
  const { code, stdout, stderr } = await buyFrom(unpaid, "nvm:nobody");
  expect([code, stderr]).toEqual([1, expect.stringContaining("no access token: 401")]);
  expect(stdout).not.toContain("nvm:nobody");
});

const failures: [what: string, status: number, headers: Record<string, string>][] = [
  ["too few", 402, { "payment-required": encode({ ...required, error: "too few" }) }],
  ["spent", 200, { "payment-response": encode({ success: false, errorReason: "spent" }) }],
];
test.each(failures)("what is not settled ends it: %s", async (why, status, headers) => {
  const { code, stderr, ledger } = await buyFrom((req, res) => {
    const isPaid = req.headers["payment-signature"] !== undefined;
    if (isPaid) res.writeHead(status, headers).end();
    else res.writeHead(402, { "payment-required": encode(required) }).end();
  });
  expect([code, stderr]).toEqual([1, expect.stringContaining(why)]);
  expect(ledger.countBurns()).toBe(0);
});
