import request from "supertest";
import { afterEach, expect, test, vi } from "vitest";
import { readOptions } from "../../src/options.ts";
import { fundedLedger, meteredApi, payment, secretKey } from "../support/api.ts";

afterEach(() => vi.unstubAllEnvs());

test.each(["", "/"])(
  "NVM_BACKEND_URL as the SDK means it, the origin with %j, is charged at (B20)",
  async (end) => {
    const ledger = await fundedLedger();
    vi.stubEnv("NVM_BACKEND_URL", `${new URL(ledger.baseUrl).origin}${end}`);
    const { url, settled } = await meteredApi(
      { environment: undefined, routes: { "POST /": 1 } },
      (app, meter) => {
        app.use(meter);
        app.post("/", (_req, res) => void res.json({}));
      },
    );
    expect((await request(url).post("/").set(payment)).status).toBe(200);
    await vi.waitFor(() => expect(settled).toMatchObject([{ status: "completed" }]));
    expect(ledger.countBurns()).toBe(1);
  },
);

const origin = "https://ledger.example";
const sameEverywhere: [given: string, baseUrl: string][] = [
  [origin, `${origin}/api/v1`],
  [`${origin}/`, `${origin}/api/v1`],
  [`${origin}/api/v1`, `${origin}/api/v1`],
  [`${origin}/api/v1/`, `${origin}/api/v1`],
  [`${origin}/gateway//`, `${origin}/gateway`],
  ["HTTPS://Ledger.Example:443/api/v1", `${origin}/api/v1`],
];

const wrong = ["ledger.example", "ftp://x", `${origin}?a=1`, `${origin}/#a`, "http://me:pw@x/api"];

function baseUrlOf(environment: object | undefined, variable: string | undefined) {
  const options = { apiKey: secretKey, plans: ["1"], environment };
  return readOptions(options, { NVM_BACKEND_URL: variable }).environment.baseUrl;
}

test("the base URL and the variable mean the same, with and without the path (B20)", () => {
  for (const [given, baseUrl] of sameEverywhere) {
    expect(baseUrlOf(undefined, given)).toBe(baseUrl);
    expect(baseUrlOf({ name: "mine", baseUrl: given }, undefined)).toBe(baseUrl);
  }
});

test("a URL that could not be joined, or that holds a password, does not start (B20)", () => {
  for (const given of wrong) {
    expect(() => baseUrlOf(undefined, given)).toThrow(
      /NVM_BACKEND_URL must be.*environment-unknown/,
    );
    expect(() => baseUrlOf({ name: "mine", baseUrl: given }, undefined)).toThrow(/option-invalid/);
  }
});

test("a ledger at the root of its origin is had by a redeem path (B20)", () => {
  const redeemPath = "/protocol/plans/redeem";
  expect(baseUrlOf({ name: "mine", baseUrl: `${origin}/`, redeemPath }, undefined)).toBe(origin);
});
