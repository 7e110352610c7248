import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Exchange, readOutcome } from "../../src/client/outcome.ts";

const now = Date.parse("2026-03-01T12:00:00Z");
const amount = 10;

type Headers = NonNullable<Exchange["answer"]>["headers"];

/** What the client makes of an answer that came whole, or without a body where that is undefined. */
function read(status: number, body: unknown, headers: Headers = {}) {
  const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
  return readOutcome({ written: true, answer: { status, headers, body: text } }, amount, now);
}

function verdict(status: number, body: unknown, headers?: Headers): string {
  const answer = read(status, body, headers);
  return "reason" in answer ? `${answer.status} ${answer.reason}` : answer.status;
}

const html = "<html><body><h1>Sorry</h1></body></html>";

/** The rows of the table in the order of the design, each with the answers that it names. */
const rows: [what: string, status: number, body: unknown, expected: string][] = [
  ["200 with everything", 200, { success: true, creditsRedeemed: 10 }, "completed"],
  ["201 with everything", 201, { success: true, creditsRedeemed: 10 }, "completed"],
  ["200 that says nothing", 200, {}, "completed"],
  ["200 without the word success", 200, { creditsRedeemed: 10 }, "completed"],
  ["200 with nulls", 200, { success: null, creditsRedeemed: null }, "completed"],

  ["200 with success: false", 200, { success: false }, "failed ledger-refused"],
  ["201 with success: false", 201, { success: false }, "failed ledger-refused"],
  [
    "200 with success: false and a code",
    200,
    { success: false, code: "BCK.CREDITS.0003" },
    "failed insufficient-credits",
  ],
  [
    "200 with success: false and an amount that cannot be read",
    200,
    { success: false, creditsRedeemed: "n/a" },
    "failed ledger-refused",
  ],
  ["402 with a code", 402, { code: "BCK.CREDITS.0003" }, "failed insufficient-credits"],
  ["402 without a body", 402, undefined, "failed insufficient-credits"],
  ["402 with an empty body", 402, "", "failed insufficient-credits"],
  ["402 of a proxy", 402, html, "failed insufficient-credits"],
  ["402 about the proof", 402, { code: "BCK.PROTOCOL.0030" }, "failed proof-refused"],
  ["400 with a domain code", 400, { code: "BCK.PLANS.0007" }, "failed ledger-refused"],
  ["403 with a domain code", 403, { code: "BCK.PLANS.0007" }, "failed ledger-refused"],
  ["404 with a domain code", 404, { code: "BCK.PLANS.0007" }, "failed ledger-refused"],
  [
    "404 with a domain code that repeats the buyer's words",
    404,
    { code: "BCK.PLANS.0007", message: "no plan 'Cannot POST'" },
    "failed ledger-refused",
  ],

  ["429 without a body", 429, undefined, "pending ledger-throttled"],
  ["429 of a proxy", 429, html, "pending ledger-throttled"],
  ["429 with success: false", 429, { success: false }, "pending ledger-throttled"],
  ["503 with a retryable code", 503, { code: "BCK.AUTH.0014" }, "pending ledger-throttled"],

  [
    "409 that says the id is still running",
    409,
    { message: "A request with this Idempotency-Key is still being processed." },
    "pending still-running",
  ],
  [
    "409 about an outstanding Idempotency-Key",
    409,
    { message: "A request is outstanding for this Idempotency-Key" },
    "pending still-running",
  ],
  [
    "409 about an id that is done",
    409,
    { message: "This idempotency key was used before." },
    "unresolved unexpected-answer",
  ],
  ["409 without the words", 409, { message: "still busy" }, "unresolved unexpected-answer"],
  ["409 of a proxy", 409, html, "unresolved unexpected-answer"],

  ["401 with a code", 401, { code: "BCK.APIKEY.0004" }, "pending configuration-fault"],
  ["401 without a body", 401, undefined, "pending configuration-fault"],
  ["401 of a proxy", 401, html, "pending configuration-fault"],
  ["401 with success: false", 401, { success: false }, "pending configuration-fault"],
  ["403 about the key", 403, { code: "BCK.APIKEY.0001" }, "pending configuration-fault"],
  ["403 about its owner", 403, { code: "BCK.AUTH.0003" }, "pending configuration-fault"],
  ["400 about the key", 400, { code: "BCK.APIKEY.0004" }, "pending configuration-fault"],
  [
    "404 of NestJS",
    404,
    { message: "Cannot POST /api/v1/protocol/plans/redeem", error: "Not Found", statusCode: 404 },
    "pending configuration-fault",
  ],
  [
    "404 of NestJS with the framework's code",
    404,
    { code: "BCK.HTTP.404", message: "Cannot POST /api/v1/protocol/plans/redeem" },
    "pending configuration-fault",
  ],
  [
    "404 of Express",
    404,
    "<html><pre>Cannot POST /api/v1/protocol/plans/redeem</pre></html>",
    "pending configuration-fault",
  ],

  [
    "422 that says the id was used with another body",
    422,
    { message: "This Idempotency-Key was used with another body." },
    "unresolved idempotency-mismatch",
  ],
  ["422 without the words", 422, { message: "no" }, "unresolved unexpected-answer"],

  ["200 of a proxy", 200, html, "unresolved answer-lost"],
  ["200 without a body", 200, undefined, "unresolved answer-lost"],
  ["200 with an empty body", 200, "", "unresolved answer-lost"],
  ["200 cut off", 200, '{"success":true,"creditsRede', "unresolved answer-lost"],
  ["200 with an array", 200, [], "unresolved answer-lost"],
  ["200 with null", 200, "null", "unresolved answer-lost"],
  ["200 with a number", 200, "5", "unresolved answer-lost"],
  ["200 with success as a string", 200, { success: "false" }, "unresolved answer-lost"],
  ["500 of a proxy", 500, html, "unresolved answer-lost"],
  ["500 with success: false", 500, { success: false }, "unresolved answer-lost"],
  ["500 that speaks of credits", 500, { code: "BCK.CREDITS.0003" }, "unresolved answer-lost"],
  ["502 of a proxy", 502, html, "unresolved answer-lost"],
  ["503 without a code", 503, undefined, "unresolved answer-lost"],
  ["503 with another code", 503, { code: "BCK.PROTOCOL.0020" }, "unresolved answer-lost"],
  [
    "503 that calls itself retryable",
    503,
    { code: "BCK.HTTP.503", retryable: true },
    "unresolved answer-lost",
  ],
  ["500 with a retryable code", 500, { code: "BCK.AUTH.0014" }, "unresolved answer-lost"],
  ["504 of a proxy", 504, html, "unresolved answer-lost"],
  ["408", 408, undefined, "unresolved answer-lost"],

  ["202", 202, {}, "unresolved unexpected-answer"],
  ["202 that says it charged", 202, { success: true }, "unresolved maybe-charged"],
  ["202 with success: false", 202, { success: false }, "unresolved unexpected-answer"],
  ["204", 204, undefined, "unresolved unexpected-answer"],
  ["302", 302, html, "unresolved unexpected-answer"],
  ["400 of a proxy", 400, html, "unresolved unexpected-answer"],
  ["400 of the framework", 400, { code: "BCK.HTTP.400" }, "unresolved unexpected-answer"],
  ["400 with success: false", 400, { success: false }, "unresolved unexpected-answer"],
  ["403 of a proxy", 403, html, "unresolved unexpected-answer"],
  ["404 of a proxy", 404, html, "unresolved unexpected-answer"],
  ["418", 418, { code: "BCK.PLANS.0007" }, "unresolved unexpected-answer"],
];

describe("the outcome table", () => {
  test.each(rows)("%s", (_what, status, body, expected) => {
    expect(verdict(status, body)).toBe(expected);
  });

  const codes: [code: string, status: number, expected: string][] = [
    ["BCK.CREDITS.0002", 400, "failed ledger-refused"],
    ["BCK.CREDITS.0003", 402, "failed insufficient-credits"],
    ["BCK.CREDITS.0005", 500, "unresolved answer-lost"],
    ["BCK.PROTOCOL.0011", 402, "failed insufficient-credits"],
    ["BCK.PROTOCOL.0020", 500, "unresolved answer-lost"],
    ["BCK.PROTOCOL.0029", 403, "failed proof-refused"],
    ["BCK.PROTOCOL.0030", 403, "failed proof-refused"],
    ["BCK.AUTH.0002", 401, "pending configuration-fault"],
    ["BCK.AUTH.0012", 401, "pending configuration-fault"],
    ["BCK.AUTH.0015", 401, "pending configuration-fault"],
    ["BCK.APIKEY.0004", 401, "pending configuration-fault"],
    ["BCK.APIKEY.0006", 401, "pending configuration-fault"],
    ["BCK.APIKEY.0013", 401, "pending configuration-fault"],
    ["BCK.APIKEY.0001", 403, "pending configuration-fault"],
    ["BCK.AUTH.0003", 403, "pending configuration-fault"],
    ["BCK.AUTH.0014", 503, "pending ledger-throttled"],
    ["BCK.HTTP.429", 429, "pending ledger-throttled"],
  ];
  test.each(codes)("%s with %i", (code, status, expected) => {
    const body = { code, message: "The ledger's words", category: "business", retryable: true };
    expect(verdict(status, body)).toBe(expected);
    expect(read(status, body)).toMatchObject({
      code,
      message: expect.stringContaining("The ledger's words"),
    });
  });
});

describe("every status from 200 to 599", () => {
  const statuses = Array.from({ length: 400 }, (_, index) => 200 + index);
  const isOk = (status: number) => status === 200 || status === 201;

  /** What a status means where the body adds nothing to it. */
  function bare(status: number): string {
    if (isOk(status)) return "unresolved answer-lost";
    if (status === 401) return "pending configuration-fault";
    if (status === 402) return "failed insufficient-credits";
    if (status === 429) return "pending ledger-throttled";
    if (status === 408 || status >= 500) return "unresolved answer-lost";
    return "unresolved unexpected-answer";
  }

  const bodies: [kind: string, body: unknown, oracle: (status: number) => string][] = [
    ["no body", undefined, bare],
    ["HTML", html, bare],
    ["JSON without a code", { a: 1 }, (status) => (isOk(status) ? "completed" : bare(status))],
    [
      "the generic error",
      { success: false, error: "It went wrong", statusCode: 500 },
      (status) => (isOk(status) ? "failed ledger-refused" : bare(status)),
    ],
    [
      "a domain code",
      { code: "BCK.PLANS.0007", message: "It went wrong" },
      (status) => {
        // The document promises no field of a 200, so a stray one says nothing against it.
        if (isOk(status)) return "completed";
        return [400, 403, 404].includes(status) ? "failed ledger-refused" : bare(status);
      },
    ],
  ];
  test.each(bodies)("with %s", (_kind, body, oracle) => {
    const table = (judge: (status: number) => string) =>
      Object.fromEntries(statuses.map((status) => [status, judge(status)]));
    expect(table((status) => verdict(status, body))).toEqual(table(oracle));
  });
});

describe("an exchange without an answer", () => {
  const faults = [
    "ECONNREFUSED",
    "ENOTFOUND",
    "EAI_AGAIN",
    "EHOSTUNREACH",
    "ECONNRESET",
    "EPIPE",
    "ETIMEDOUT",
    "ABORTED",
    "NO_FREE_CONNECTION",
    "ERR_SSL_WRONG_VERSION_NUMBER",
    "DEPTH_ZERO_SELF_SIGNED_CERT",
    "HPE_INVALID_CONSTANT",
    "UND_ERR_CONNECT_TIMEOUT",
    "UND_ERR_DESTROYED",
    "UND_ERR_SOCKET",
  ];

  test.each(faults)("%s is judged by what was written, not by its name", (code) => {
    const fault = { code, message: "said the network" };
    expect(readOutcome({ written: false, fault }, amount, now)).toEqual({
      status: "pending",
      reason: "ledger-unreachable",
      code,
      message: expect.stringContaining("said the network"),
    });
    expect(readOutcome({ written: true, fault }, amount, now)).toEqual({
      status: "unresolved",
      reason: "answer-lost",
      code,
      message: expect.stringContaining("said the network"),
    });
  });

  test("a fault without a name is judged alike", () => {
    expect(readOutcome({ written: false }, amount, now).status).toBe("pending");
    expect(readOutcome({ written: true }, amount, now).status).toBe("unresolved");
  });

  test("a fault after the head leaves the status to judge by, and is named where it decides", () => {
    const cut = (status: number) =>
      readOutcome(
        {
          written: true,
          answer: { status, headers: {}, body: undefined },
          fault: { code: "UND_ERR_SOCKET", message: "other side closed" },
        },
        amount,
        now,
      );
    expect(cut(200)).toMatchObject({
      status: "unresolved",
      reason: "answer-lost",
      code: "UND_ERR_SOCKET",
      message: expect.stringContaining("other side closed"),
    });
    expect(cut(402)).toMatchObject({ status: "failed", reason: "insufficient-credits" });
    expect(cut(429)).toMatchObject({ status: "pending", reason: "ledger-throttled" });
    expect(cut(400)).toMatchObject({ status: "unresolved", reason: "unexpected-answer" });
  });
});

describe("Retry-After", () => {
  const values: [value: string | string[] | undefined, ms: number | undefined][] = [
    [undefined, undefined],
    ["7", 7_000],
    [" 7 ", 7_000],
    [["7", "9"], 7_000],
    ["0", undefined],
    ["Sun, 01 Mar 2026 12:00:30 GMT", 30_000],
    ["Sun, 01 Mar 2026 11:59:30 GMT", undefined],
    ["", undefined],
    ["soon", undefined],
    ["-5", undefined],
    ["1.5", undefined],
    ["1e3", undefined],
    ["0x10", undefined],
    ["in the year 9999", undefined],
    ["2099", 2_099_000],
    ["Sun, 99 Mar 2026 99:00:30 GMT", undefined],
    ["9".repeat(400), undefined],
  ];
  test.each(values)("%j", (value, ms) => {
    for (const [status, body] of [
      [429, undefined],
      [503, { code: "BCK.AUTH.0014" }],
      [409, { message: "Idempotency-Key is still being processed" }],
    ] as const) {
      const answer = read(status, body, value === undefined ? {} : { "retry-after": value });
      expect(answer.status).toBe("pending");
      expect("retryAfterMs" in answer ? answer.retryAfterMs : undefined).toBe(ms);
    }
  });

  test("changes nothing about a 503 that may have been applied", () => {
    expect(read(503, html, { "retry-after": "7" })).not.toHaveProperty("retryAfterMs");
    expect(verdict(503, html, { "retry-after": "7" })).toBe("unresolved answer-lost");
  });
});

describe("credits", () => {
  const huge = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
  const readable: [json: string, value: number | string | null][] = [
    ["10", 10],
    ["0", 0],
    ["1e1", 10],
    ["9007199254740991", 9007199254740991],
    ['"10"', 10],
    ['"0010"', 10],
    ['"9007199254740991"', 9007199254740991],
    ['"9007199254740993"', "9007199254740993"],
    ['"000000000000000000009007199254740993"', "9007199254740993"],
    [`"${huge}"`, huge],
    ["null", null],
  ];
  test.each(readable)("%s is read as it stands", (json, value) => {
    const body = `{"success":true,"creditsRedeemed":${json},"remainingBalance":${json}}`;
    expect(read(200, body)).toMatchObject({
      status: "completed",
      redeemedAmount: value,
      remainingBalance: value,
    });
  });

  const unreadable = [
    "1.5",
    "-1",
    "1e21",
    "1e400",
    "9007199254740993",
    '"1.5"',
    '"-1"',
    '"1e21"',
    '"0x10"',
    '" 10"',
    '"10 credits"',
    '""',
    `"${"9".repeat(79)}"`,
    "true",
    "[]",
    "{}",
  ];
  test.each(unreadable)("%s is not guessed at", (json) => {
    expect(verdict(200, `{"creditsRedeemed":${json}}`)).toBe("unresolved answer-lost");
    // A balance decides nothing: the charge stands without it.
    expect(read(200, `{"creditsRedeemed":10,"remainingBalance":${json}}`)).toMatchObject({
      status: "completed",
      redeemedAmount: 10,
      remainingBalance: null,
    });
  });

  test("left out are unknown, not zero", () => {
    expect(read(200, {})).toEqual({
      status: "completed",
      redeemedAmount: null,
      remainingBalance: null,
      short: false,
    });
  });

  const shorts: [redeemed: unknown, short: boolean][] = [
    [9, true],
    ["9", true],
    [0, true],
    [10, false],
    [11, false],
    ["9007199254740993", false],
    [null, false],
  ];
  test.each(shorts)("%j redeemed of 10: short is %j", (creditsRedeemed, short) => {
    expect(read(200, { creditsRedeemed })).toMatchObject({ status: "completed", short });
  });
});

describe("the ledger's words", () => {
  const bodies: [body: unknown, code: string, message: string][] = [
    [{ code: "BCK.CREDITS.0003", message: "Not enough" }, "BCK.CREDITS.0003", "Not enough"],
    [{ success: false, error: "Not enough", statusCode: 402 }, "HTTP_402", "Not enough"],
    [{ message: ["a is short", "b is long"] }, "HTTP_402", "a is short; b is long"],
    [{ message: "", error: "Not enough" }, "HTTP_402", "Not enough"],
    [{ message: { a: 1 }, error: 5, code: 7 }, "HTTP_402", "HTTP status 402"],
    [{ code: "not a code, but a sentence" }, "HTTP_402", "HTTP status 402"],
    [html, "HTTP_402", "HTTP status 402"],
  ];
  test.each(bodies)("%j", (body, code, message) => {
    expect(read(402, body)).toMatchObject({ status: "failed", code, message });
  });
});

describe("whatever is answered", () => {
  const knownCode = fc.constantFrom(
    "BCK.CREDITS.0003",
    "BCK.PROTOCOL.0030",
    "BCK.APIKEY.0001",
    "BCK.AUTH.0014",
    "BCK.HTTP.404",
    "HTTP_200",
  );
  const knownWords = fc.constantFrom(
    "Cannot POST /api/v1/protocol/plans/redeem",
    "This Idempotency-Key is still being processed",
    "This idempotency_key was used with another body",
  );
  const credits = fc.oneof(
    fc.integer(),
    fc.double(),
    fc.constantFrom(1e21, -0, "12", "1e21", "9007199254740993"),
    fc.jsonValue(),
  );
  const reply = fc.record(
    {
      success: fc.oneof(fc.boolean(), fc.jsonValue()),
      creditsRedeemed: credits,
      remainingBalance: credits,
      code: fc.oneof(knownCode, fc.jsonValue()),
      message: fc.oneof(knownWords, fc.array(knownWords), fc.jsonValue()),
      error: fc.oneof(knownWords, fc.jsonValue()),
      retryable: fc.boolean(),
    },
    { requiredKeys: [] },
  );
  const nested = fc
    .tuple(fc.constantFrom('{"a":', "["), fc.integer({ min: 1, max: 20_000 }))
    .map(([open, depth]) => open.repeat(depth) + (open === "[" ? "]" : "1}").repeat(depth));
  const body = fc.oneof(
    { weight: 5, arbitrary: reply.map((value) => JSON.stringify(value)) },
    { weight: 2, arbitrary: fc.json() },
    { weight: 2, arbitrary: fc.string({ unit: "binary" }) },
    { weight: 1, arbitrary: nested },
    {
      weight: 1,
      arbitrary: fc.constantFrom('{"__proto__":{"success":true}}', "", "1e21", "\u0000"),
    },
    { weight: 1, arbitrary: fc.constant(undefined) },
  );
  const status = fc.oneof(
    fc.constantFrom(200, 201, 202, 400, 401, 402, 403, 404, 408, 409, 422, 429, 500, 503),
    fc.integer({ min: 200, max: 999 }),
  );
  const headers = fc.record(
    { "retry-after": fc.oneof(fc.string(), fc.array(fc.string()), fc.nat().map(String)) },
    { requiredKeys: [] },
  );

  test("applied only on the ledger's word, not applied only with evidence", () => {
    fc.assert(
      fc.property(status, body, headers, (status, body, headers) => {
        const answer = read(status, body, headers);
        if (answer.status === "completed") expect([200, 201]).toContain(status);
        if (answer.status === "failed") {
          expect([200, 201, 400, 402, 403, 404]).toContain(status);
          if (status < 300) expect(JSON.parse(body ?? "").success).toBe(false);
        }
        if (answer.status === "pending") {
          const said = body ?? "";
          const mayWait =
            status === 401 ||
            status === 429 ||
            (status < 500 &&
              (status < 202 || status >= 400) &&
              /BCK\.(AUTH|APIKEY)\./.test(said)) ||
            (status === 404 && said.includes("Cannot POST")) ||
            (status === 503 && said.includes("BCK.AUTH.0014")) ||
            (status === 409 && said.includes("Idempotency-Key"));
          expect(mayWait).toBe(true);
          if (answer.retryAfterMs !== undefined) {
            expect(answer.retryAfterMs).toBeGreaterThan(0);
            expect(Number.isFinite(answer.retryAfterMs)).toBe(true);
          }
        }
        if (status >= 500 && !(status === 503 && answer.status === "pending")) {
          expect(answer).toMatchObject({
            status: "unresolved",
            reason: expect.stringMatching(/^(answer-lost|maybe-charged)$/),
          });
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test("amounts are whole, never negative, and never rounded", () => {
    fc.assert(
      fc.property(credits, credits, (creditsRedeemed, remainingBalance) => {
        const answer = read(200, { creditsRedeemed, remainingBalance });
        if (answer.status !== "completed") return;
        for (const [sent, read] of [
          [creditsRedeemed, answer.redeemedAmount],
          [remainingBalance, answer.remainingBalance],
        ]) {
          if (read === null) continue;
          expect(BigInt(read as number | string)).toBe(BigInt(sent as number | string));
          if (typeof read === "number") expect(Number.isSafeInteger(read) && read >= 0).toBe(true);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test("a reply cannot smuggle fields in through __proto__", () => {
    const body = '{"__proto__":{"creditsRedeemed":5,"success":false,"code":"BCK.AUTH.0014"}}';
    expect(read(200, body)).toMatchObject({ status: "completed", redeemedAmount: null });
    expect(verdict(503, body)).toBe("unresolved answer-lost");
    expect({}).not.toHaveProperty("creditsRedeemed");
  });
});
