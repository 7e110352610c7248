import { describe, expect, test } from "vitest";
import { CreditMeterError, creditMeter } from "../src/index.ts";
import { readOptions, readPrice } from "../src/options.ts";
import { keepLines } from "./support/api.ts";

const minimal = { plans: ["1059"], environment: "sandbox", apiKey: "nvm:key" } as const;

function refusal(run: () => unknown): CreditMeterError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(CreditMeterError);
    return error as CreditMeterError;
  }
  throw new Error("It was accepted.");
}

describe("what does not start, and what the message says to do", () => {
  const cases: [string, unknown, string, string][] = [
    ["no options", undefined, "option-invalid", "plans"],
    ["no plans", { ...minimal, plans: undefined }, "option-invalid", '"any"'],
    ["an empty list of plans", { ...minimal, plans: [] }, "option-invalid", "plans must list"],
    ["plans as one string", { ...minimal, plans: "1059" }, "option-invalid", "plans must list"],
    ["an unknown option", { ...minimal, rutes: {} }, "option-invalid", "there is no option rutes"],
    [
      "an unknown option, told what there is",
      { ...minimal, rutes: {} },
      "option-invalid",
      "routes",
    ],
    [
      "a nested unknown option",
      { ...minimal, backoff: { min: 1 } },
      "option-invalid",
      "backoff.min",
    ],
    ["an unknown environment", { ...minimal, environment: "prod" }, "option-invalid", '"live"'],
    [
      "a base URL that is none",
      { ...minimal, environment: { name: "x", baseUrl: "x" } },
      "option-invalid",
      "http",
    ],
    ["concurrency of 0", { ...minimal, concurrency: 0 }, "option-invalid", "concurrency"],
    ["concurrency of 1.5", { ...minimal, concurrency: 1.5 }, "option-invalid", "whole number"],
    ["a logger without levels", { ...minimal, logger: { info() {} } }, "option-invalid", "pino"],
    ["an unlisted that is neither", { ...minimal, unlisted: "no" }, "option-invalid", '"refuse"'],
    [
      "a header name with a space",
      { ...minimal, payment: { proof: "a b" } },
      "option-invalid",
      "header",
    ],
    [
      "a price of 1.5",
      { ...minimal, routes: { "GET /": 1.5 } },
      "price-invalid",
      'routes["GET /"]',
    ],
    ["a negative price", { ...minimal, routes: { "GET /": -1 } }, "price-invalid", "It is -1"],
    [
      "a price as a string",
      { ...minimal, routes: { "GET /": "2" } },
      "price-invalid",
      "whole number",
    ],
    [
      "a price past the safe integers",
      { ...minimal, routes: { "GET /": 2 ** 53 } },
      "price-invalid",
      "whole",
    ],
    [
      "a fraction as hold",
      { ...minimal, routes: { "GET /": { price: 1, hold: 0.5 } } },
      "price-invalid",
      "hold",
    ],
    [
      "a row without a price",
      { ...minimal, routes: { "GET /": { hold: 1 } } },
      "price-invalid",
      "price",
    ],
    [
      "an unknown key in a row",
      { ...minimal, routes: { "GET /": { price: 1, holds: 1 } } },
      "price-invalid",
      "holds",
    ],
    [
      "a row without a method",
      { ...minimal, routes: { "/v1": 1 } },
      "route-invalid",
      '"POST /v1/embeddings"',
    ],
    [
      "a method in small letters",
      { ...minimal, routes: { "post /v1": 1 } },
      "route-invalid",
      "capitals",
    ],
    ["an unknown method", { ...minimal, routes: { "FETCH /v1": 1 } }, "route-invalid", "FETCH"],
    [
      "n8n's troubleshooting: Missing API Key",
      { ...minimal, apiKey: "" },
      "api-key-missing",
      "NVM_API_KEY",
    ],
    ["no environment", { ...minimal, environment: undefined }, "environment-unknown", '"sandbox"'],
    [
      "a key of another environment",
      { ...minimal, apiKey: "live:abc" },
      "environment-unknown",
      'the API key is one of "live"',
    ],
  ];
  test.each(cases)("%s", (_name, options, code, says) => {
    const error = refusal(() => creditMeter(options as never));
    expect(error.code).toBe(code);
    expect(error.message).toContain(says);
    expect(error.message).toContain(`[${code}]`);
    expect(error.message).not.toContain("nvm:key");
  });
});

describe("the environment", () => {
  const { environment: _environment, ...open } = minimal;
  const read = (options: object, variables = {}) => readOptions({ ...open, ...options }, variables);

  test.each([
    ["sandbox", "https://api.sandbox.nevermined.app/api/v1"],
    ["live", "https://api.live.nevermined.app/api/v1"],
    ["staging_sandbox", "https://api.sandbox.nevermined.dev/api/v1"],
    ["staging_live", "https://api.live.nevermined.dev/api/v1"],
  ])("%s is %s", (environment, baseUrl) => {
    expect(read({ environment }).environment).toEqual({
      name: environment,
      baseUrl,
      redeemPath: "/protocol/plans/redeem",
    });
  });

  test.each([
    ["sandbox:abc", "sandbox"],
    ["live:abc", "live"],
    ["sandbox-staging:abc", "staging_sandbox"],
    ["live-staging:abc", "staging_live"],
  ])("the key %s names %s", (apiKey, name) => {
    expect(read({ apiKey }).environment.name).toBe(name);
  });

  test("may be custom, with its own endpoint", () => {
    const environment = { name: "mine", baseUrl: "http://127.0.0.1:1/api/", redeemPath: "/burn" };
    expect(read({ environment }).environment).toEqual({
      name: "mine",
      baseUrl: "http://127.0.0.1:1/api",
      redeemPath: "/burn",
    });
  });

  test("comes from NVM_BACKEND_URL, the key from NVM_API_KEY", () => {
    const settings = readOptions(
      { plans: ["1059"] },
      { NVM_API_KEY: "sandbox:abc", NVM_BACKEND_URL: "http://127.0.0.1:1/api/v1" },
    );
    expect(settings.apiKey).toBe("sandbox:abc");
    expect(settings.environment.baseUrl).toBe("http://127.0.0.1:1/api/v1");
  });

  test("an unreadable NVM_BACKEND_URL does not start", () => {
    const error = refusal(() => read({}, { NVM_BACKEND_URL: "ledger" }));
    expect(error.code).toBe("environment-unknown");
  });

  test("plain HTTP to another machine is warned of, to this one it is not", () => {
    const warnings = (baseUrl: string) => {
      const { lines, logger } = keepLines();
      const environment = { name: "x", baseUrl };
      creditMeter({ ...minimal, environment, journal: "memory", inline: true, logger });
      return lines.map(({ level }) => level);
    };
    expect(warnings("http://ledger.internal/api")).toEqual(["warn"]);
    for (const host of ["127.0.0.1", "localhost", "[::1]"]) {
      expect(warnings(`http://${host}:1/api`)).toEqual([]);
    }
    expect(warnings("https://ledger.internal/api")).toEqual([]);
  });
});

test("a price may be a number, a function, or either with what goes with it", () => {
  const price = () => 1;
  expect(readPrice(0, "x")).toEqual({ price: 0 });
  expect(readPrice({ price, hold: 5 }, "x")).toEqual({ price, hold: 5 });
});

describe("a journal in PostgreSQL", () => {
  const read = (journal: unknown) => readOptions({ ...minimal, journal }, {}).journal;

  test("its URL alone is PostgreSQL, not a folder", () => {
    const url = "postgres://ann@db/credits";
    expect(read(url)).toEqual({ postgres: url, schema: "credit_meter" });
    expect(readOptions({ ...minimal, journal: url }, {}).guard.scope).toBe("fleet");
  });

  test.each([
    ["mysql://db/credits"],
    ["file:///var/lib/journal.db"],
    ["libsql://db"],
    ["memory:"],
    [":memory:"],
    [""],
  ])("the text %j is no journal, and makes no folder", (journal) => {
    const error = refusal(() => readOptions({ ...minimal, journal }, {}));
    expect(error.code).toBe("option-invalid");
    expect(error.message).toContain("journal must be the path of a file");
    expect(error.message).not.toContain("//db");
  });

  test.each([
    [{ postgres: "postgres://ann@db/credits" }, { schema: "credit_meter" }],
    [{ postgres: "postgresql://ann@db/credits", schema: "api_2" }, { schema: "api_2" }],
    [{ postgres: { host: "db", ssl: true } }, { postgres: { host: "db", ssl: true } }],
  ])("%j", (journal, expected) => {
    expect(read(journal)).toMatchObject(expected);
  });

  test.each([
    [{ postgres: "mysql://db" }],
    [{ postgres: { password: () => "secret" } }],
    [{ postgres: "postgres://db", schema: 'a"; drop table x' }],
    [{ postgres: "postgres://db", table: "x" }],
    [{}],
    [7],
  ])("not %j", (journal) => {
    expect(() => read(journal)).toThrow("[option-invalid]");
  });
});
