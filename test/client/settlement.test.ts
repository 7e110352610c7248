import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Exchange, readOutcome } from "../../src/client/outcome.ts";
import { readSettlement, readVerification } from "../../src/client/settlement.ts";

const now = Date.parse("2026-03-01T12:00:00Z");
const amount = 10;
const transaction = `0x${"ab".repeat(32)}`;
const payer = "0xAb5801a7D398351b8bE11C439e05C5B3259aeC9B";
const html = "<html><body><h1>Sorry</h1></body></html>";

/** An exchange whose answer came whole, or without a body where that is undefined. */
function came(status: number, body: unknown, headers = {}): Exchange {
  const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
  return { written: true, answer: { status, headers, body: text } };
}

const read = (status: number, body: unknown, headers = {}) =>
  readSettlement(came(status, body, headers), amount, now);

function verdict(status: number, body: unknown): string {
  const answer = read(status, body);
  return "reason" in answer ? `${answer.status} ${answer.reason}` : answer.status;
}

const paid = { success: true, transaction, network: "eip155:84532" };
const no = { success: false, transaction: "", network: "eip155:84532", creditsRedeemed: "0" };

const rows: [what: string, status: number, body: unknown, expected: string][] = [
  ["201 with everything", 201, { ...paid, creditsRedeemed: "10" }, "completed"],
  ["200 with everything", 200, { ...paid, creditsRedeemed: 10 }, "completed"],
  ["201 with what must be there", 201, paid, "completed"],
  ["201 with success alone", 201, { success: true }, "completed"],

  ["201 that refuses and says no more", 201, { success: false }, "failed ledger-refused"],
  ["201 that refuses", 201, { ...no, errorReason: "No." }, "failed ledger-refused"],
  [
    "201 that refuses with an amount that cannot be read",
    201,
    { ...no, creditsRedeemed: "n/a" },
    "failed ledger-refused",
  ],
  ["402 without a body", 402, undefined, "failed insufficient-credits"],
  ["402 of a proxy", 402, html, "failed insufficient-credits"],
  ["402 of the framework", 402, { code: "BCK.HTTP.402" }, "failed insufficient-credits"],
  [
    "402 about the token without a code",
    402,
    { message: "Access token expired" },
    "failed payment-expired",
  ],
  ["404 with a domain code", 404, { code: "BCK.X402.0002" }, "failed ledger-refused"],

  [
    "201 that refuses and names a transaction",
    201,
    { ...no, transaction },
    "unresolved maybe-charged",
  ],
  [
    "201 that refuses and names an amount",
    201,
    { ...no, creditsRedeemed: "10" },
    "unresolved maybe-charged",
  ],
  ["201 without success", 201, { creditsRedeemed: "10" }, "completed"],
  ["201 with an empty object", 201, {}, "completed"],
  ["201 with success as a string", 201, { ...paid, success: "true" }, "completed"],
  ["201 with a fraction", 201, { ...paid, creditsRedeemed: "1.5" }, "completed"],
  ["201 with a negative", 201, { ...paid, creditsRedeemed: -1 }, "completed"],
  ["201 without success, with a fraction", 201, { creditsRedeemed: 1.5 }, "unresolved answer-lost"],
  ["201 of a proxy", 201, html, "unresolved answer-lost"],
  ["201 without a body", 201, undefined, "unresolved answer-lost"],
  ["201 with a list", 201, [paid], "unresolved answer-lost"],
  ["201 cut off", 201, JSON.stringify(paid).slice(0, -2), "unresolved answer-lost"],

  ["a charge in money", 201, { ...paid, billingModel: "pay-as-you-go" }, "completed"],
  [
    "a charge in money without a transaction",
    201,
    { success: true, billingModel: "pay-as-you-go", creditsRedeemed: "0" },
    "completed",
  ],

  ["401 without a body", 401, undefined, "pending configuration-fault"],
  ["403 about the key", 403, { code: "BCK.APIKEY.0001" }, "pending configuration-fault"],
  [
    "404 of NestJS",
    404,
    { code: "BCK.HTTP.404", message: "Cannot POST /api/v1/x402/settle" },
    "pending configuration-fault",
  ],
  ["404 of Express", 404, "<pre>Cannot POST /x402/settle</pre>", "pending configuration-fault"],

  ["429 of a proxy", 429, html, "pending ledger-throttled"],
  ["503 of a proxy", 503, html, "unresolved answer-lost"],
  ["503 that calls itself retryable", 503, { retryable: true }, "unresolved answer-lost"],
  ["500 with a retryable code", 500, { code: "BCK.X402.0051" }, "unresolved answer-lost"],
  ["504 of a proxy", 504, html, "unresolved answer-lost"],
  ["408", 408, undefined, "unresolved answer-lost"],

  [
    "409 about an id that is still running",
    409,
    { message: "The request with this agentRequestId is still being processed." },
    "pending still-running",
  ],
  [
    "409 about an id that is done",
    409,
    { message: "This agentRequestId was used before." },
    "unresolved unexpected-answer",
  ],
  ["409 without the words", 409, { message: "still busy" }, "unresolved unexpected-answer"],
  [
    "422 about an id that was used with another body",
    422,
    { message: "This agentRequestId was used with another body." },
    "unresolved idempotency-mismatch",
  ],
  ["422 without the words", 422, { message: "no" }, "unresolved unexpected-answer"],

  ["202", 202, {}, "unresolved unexpected-answer"],
  ["202 that says it charged", 202, paid, "unresolved maybe-charged"],
  ["204", 204, undefined, "unresolved unexpected-answer"],
  ["302", 302, html, "unresolved unexpected-answer"],
  ["400 of the framework", 400, { code: "BCK.HTTP.400" }, "unresolved unexpected-answer"],
  ["400 that refuses without a code", 400, no, "unresolved unexpected-answer"],
];

describe("the table of settlements", () => {
  test.each(rows)("%s", (_what, status, body, expected) => {
    expect(verdict(status, body)).toBe(expected);
  });

  // With the status and the message of Nevermined's catalogue.
  const codes: [code: string, status: number, message: string, expected: string][] = [
    ["BCK.CREDITS.0002", 400, "must be positive", "failed ledger-refused"],
    ["BCK.CREDITS.0003", 402, "Insufficient credits", "failed insufficient-credits"],
    ["BCK.PROTOCOL.0030", 403, "Invalid proof", "failed proof-refused"],
    ["BCK.X402.0001", 404, "Agent not found", "failed ledger-refused"],
    ["BCK.X402.0002", 404, "Plan not found", "failed ledger-refused"],
    ["BCK.X402.0003", 400, "The plan is not associated to the agent", "failed ledger-refused"],
    ["BCK.X402.0005", 402, "Invalid access token", "failed proof-refused"],
    ["BCK.X402.0006", 500, "Error verifying permissions", "unresolved answer-lost"],
    ["BCK.X402.0008", 500, "Failed to order crypto plan", "unresolved answer-lost"],
    ["BCK.X402.0009", 500, "Failed to redeem credits", "unresolved maybe-charged"],
    ["BCK.X402.0010", 400, "Invalid x402 access token", "failed proof-refused"],
    ["BCK.X402.0013", 400, "Accepted payment method does not match", "failed proof-refused"],
    ["BCK.X402.0015", 404, "Permission not found", "failed proof-refused"],
    ["BCK.X402.0021", 402, "Delegation has expired", "failed payment-expired"],
    ["BCK.X402.0022", 402, "Delegation budget exhausted", "failed insufficient-credits"],
    ["BCK.X402.0023", 402, "Delegation budget insufficient", "failed insufficient-credits"],
    ["BCK.X402.0034", 402, "Unsupported scheme or currency", "failed ledger-refused"],
    ["BCK.X402.0048", 502, "may have charged", "unresolved maybe-charged"],
    ["BCK.X402.0049", 402, "was declined", "failed insufficient-credits"],
    ["BCK.X402.0051", 503, "Chain RPC temporarily unavailable", "pending ledger-throttled"],
    ["BCK.X402.0052", 503, "could not be installed", "pending ledger-throttled"],
    ["BCK.X402.0059", 402, "Access token has already been used", "failed proof-refused"],
    ["BCK.AUTH.0002", 401, "Authentication required", "pending configuration-fault"],
    ["BCK.AUTH.0014", 503, "Identity provider away", "pending ledger-throttled"],
    ["BCK.HTTP.429", 429, "Too many requests", "pending ledger-throttled"],
  ];
  test.each(codes)("%s with %i", (code, status, message, expected) => {
    expect(verdict(status, { code, message })).toBe(expected);
    expect(read(status, { code, message })).toMatchObject({
      code,
      message: expect.stringContaining(message),
    });
  });

  const reasons: [errorReason: string, code: string, reason: string][] = [
    ["Insufficient balance: the payer has 5 credits", "HTTP_201", "insufficient-credits"],
    ["INSUFFICIENT_BALANCE", "INSUFFICIENT_BALANCE", "insufficient-credits"],
    ["insufficient_funds", "insufficient_funds", "insufficient-credits"],
    ["BUDGET_EXCEEDED", "BUDGET_EXCEEDED", "insufficient-credits"],
    ["CARD_DECLINED", "CARD_DECLINED", "insufficient-credits"],
    ["Invalid access token: it has expired.", "HTTP_201", "payment-expired"],
    ["Access token has already been used: ask for a new one.", "HTTP_201", "proof-refused"],
    ["INVALID_SIGNATURE", "INVALID_SIGNATURE", "proof-refused"],
    ["EXPIRED_SESSION_KEY", "EXPIRED_SESSION_KEY", "proof-refused"],
    ["DELEGATION_INACTIVE", "DELEGATION_INACTIVE", "proof-refused"],
    ["BCK.X402.0059", "BCK.X402.0059", "proof-refused"],
    ["SETTLEMENT_FAILED", "SETTLEMENT_FAILED", "ledger-refused"],
    ["unexpected_settle_error", "unexpected_settle_error", "ledger-refused"],
  ];
  test.each(reasons)("a refusal because of %s", (errorReason, code, reason) => {
    const expected = { status: "failed", reason, code, message: errorReason };
    expect(read(201, { ...no, errorReason })).toEqual(expected);
    const verification = readVerification(
      came(201, { isValid: false, invalidReason: errorReason }),
    );
    expect(verification).toEqual({ status: "invalid", reason, message: errorReason });
  });

  test("nothing was written, or something was and no answer came", () => {
    const fault = { code: "ECONNRESET", message: "said the network" };
    expect(readSettlement({ written: false, fault }, amount, now)).toMatchObject({
      status: "pending",
      reason: "ledger-unreachable",
    });
    expect(readSettlement({ written: true, fault }, amount, now)).toMatchObject({
      status: "unresolved",
      reason: "answer-lost",
    });
  });

  test("a wait that the ledger asks for is kept", () => {
    for (const [status, body] of [
      [503, { code: "BCK.X402.0051" }],
      [409, { message: "agentRequestId is still being processed" }],
    ] as const) {
      expect(read(status, body, { "retry-after": "7" })).toMatchObject({ retryAfterMs: 7_000 });
    }
  });
});

describe("what a settlement tells", () => {
  const told = { ...paid, payer, creditsRedeemed: "4", remainingBalance: "96" };

  test("is all taken over", () => {
    expect(read(201, told)).toEqual({
      status: "completed",
      redeemedAmount: 4,
      remainingBalance: 96,
      short: true,
      transaction,
      payer,
    });
  });

  test("is left out where it is not told, or cannot be read, but for what was redeemed", () => {
    const bare = {
      status: "completed",
      redeemedAmount: null,
      remainingBalance: null,
      short: false,
    };
    expect(read(201, { success: true })).toEqual(bare);
    for (const strange of [null, "", 5, {}, "a b", "x\n", "ä", "y".repeat(129)]) {
      const body = { success: true, transaction: strange, payer: strange, remainingBalance: "n/a" };
      expect(read(201, body)).toEqual(bare);
    }
  });

  test("is no number that would lie", () => {
    const huge = "9007199254740993";
    expect(read(201, { ...told, creditsRedeemed: huge, remainingBalance: huge })).toMatchObject({
      redeemedAmount: huge,
      remainingBalance: huge,
      short: false,
    });
  });

  test("is no amount of credits where the buyer was charged in money", () => {
    const body = {
      ...paid,
      billingModel: "pay-as-you-go",
      creditsRedeemed: "0",
      remainingBalance: "0",
    };
    expect(read(201, body)).toEqual({
      status: "completed",
      redeemedAmount: null,
      remainingBalance: null,
      short: false,
      transaction,
    });
  });
});

describe("whatever comes", () => {
  const field = fc.oneof(
    fc.constantFrom(true, false, null, "", "0", "10", 10, 0, transaction, payer, "pay-as-you-go"),
    fc.jsonValue({ maxDepth: 1 }),
  );
  const body = fc.oneof(
    fc.record(
      {
        success: field,
        isValid: field,
        creditsRedeemed: field,
        remainingBalance: field,
        transaction: field,
        payer: field,
        billingModel: field,
        errorReason: field,
        invalidReason: field,
        agentRequestId: field,
        agentRequest: fc.oneof(field, fc.record({ agentRequestId: field })),
        code: fc.constantFrom("BCK.X402.0051", "BCK.X402.0005", "BCK.HTTP.400", "BCK.AUTH.0002"),
        message: fc.oneof(field, fc.constant("agentRequestId is still running")),
      },
      { requiredKeys: [] },
    ),
    fc.jsonValue(),
    fc.string(),
  );
  const status = fc.oneof(
    fc.constantFrom(200, 201, 400, 401, 402, 403, 404, 409, 422, 429, 503),
    fc.integer({ min: 200, max: 599 }),
  );

  test("it is applied only on the ledger's word, and not applied only with evidence", () => {
    fc.assert(
      fc.property(status, body, (status, body) => {
        const answer = read(status, body);
        const said = Object(body);
        if (answer.status === "completed") {
          expect([200, 201]).toContain(status);
          expect([undefined, null, true, "true"]).toContainEqual(said.success);
        } else if (status === 200 || status === 201) {
          if (answer.status !== "unresolved") {
            expect([answer.reason === "configuration-fault", said.success]).toEqual([
              said.code === "BCK.AUTH.0002" && answer.status === "pending",
              false,
            ]);
            expect(said.transaction === transaction || said.creditsRedeemed === "10").toBe(false);
          }
        } else if (status >= 500 && status !== 503) {
          expect(answer.status).toBe("unresolved");
        } else if (answer.status === "pending") {
          expect(status === 503 || (status >= 400 && status < 500)).toBe(true);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test("what is no answer of this endpoint's own is judged as it is for a redemption", () => {
    const foreign = fc.constantFrom(undefined, html, "", "{}", '{"code":"BCK.PLANS.0007"}');
    const statuses = fc.integer({ min: 202, max: 599 });
    fc.assert(
      fc.property(statuses, foreign, (status, body) => {
        const { message: _, ...settled } = { message: "", ...read(status, body) };
        const outcome = readOutcome(came(status, body), amount, now);
        const { message: __, ...redeemed } = { message: "", ...outcome };
        const isPlain402 = status === 402 && body?.includes("PLANS");
        if (!isPlain402) expect(settled).toEqual(redeemed);
      }),
    );
  });

  test("a verification is one of three, and valid only on the ledger's word", () => {
    fc.assert(
      fc.property(status, body, (status, body) => {
        const verification = readVerification(came(status, body));
        if (verification.status === "valid") {
          expect([status === 200 || status === 201, Object(body).isValid]).toEqual([true, true]);
          expect(verification.agentRequestId ?? "a").toMatch(/^[\w-]{1,128}$/);
          expect(verification.payer ?? payer).toMatch(/^0x[0-9a-fA-F]{40}$/);
        }
        if (status >= 500 || status === 401) expect(verification.status).toBe("away");
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("the table of verifications", () => {
  const valid = { isValid: true, payer, network: "eip155:84532", agentRequestId: "arId-1" };

  test.each<[what: string, body: object, expected: object]>([
    ["with everything", valid, { agentRequestId: "arId-1", payer }],
    ["with what must be there", { isValid: true }, { agentRequestId: null, payer: null }],
    ["with an empty id", { ...valid, agentRequestId: "" }, { agentRequestId: null, payer }],
    ["with a strange id", { ...valid, agentRequestId: "a b" }, { agentRequestId: null, payer }],
    ["with a long id", { ...valid, agentRequestId: "a".repeat(129) }, { agentRequestId: null }],
    ["with an id that is a number", { ...valid, agentRequestId: 7 }, { agentRequestId: null }],
    [
      "with the id where Nevermined's SDK looks for it",
      { isValid: true, agentRequest: { agentRequestId: "arId-2", balance: {} } },
      { agentRequestId: "arId-2" },
    ],
    [
      "with a strange id there and a good one beside it",
      { ...valid, agentRequest: { agentRequestId: "" } },
      { agentRequestId: "arId-1" },
    ],
    ["with a payer that is a name", { ...valid, payer: "alice" }, { payer: null }],
  ])("valid %s", (_what, body, expected) => {
    expect(readVerification(came(201, body))).toMatchObject({ status: "valid", ...expected });
    expect(readVerification(came(200, body))).toMatchObject({ status: "valid", ...expected });
  });

  test.each<[what: string, status: number, body: unknown, expected: string]>([
    ["402 with a code", 402, { code: "BCK.X402.0005" }, "invalid proof-refused"],
    ["402 without a body", 402, undefined, "invalid insufficient-credits"],
    ["400 with a code", 400, { code: "BCK.X402.0013" }, "invalid proof-refused"],
    ["400 of the framework", 400, { code: "BCK.HTTP.400" }, "invalid ledger-refused"],
    ["404 with a code", 404, { code: "BCK.X402.0002" }, "invalid ledger-refused"],
    ["201 that says no", 201, { isValid: false }, "invalid ledger-refused"],
    ["400 of a proxy", 400, html, "away"],
    ["401", 401, { code: "BCK.AUTH.0002" }, "away"],
    ["403 about the key", 403, { code: "BCK.APIKEY.0001" }, "away"],
    ["404 of NestJS", 404, { message: "Cannot POST /x402/verify" }, "away"],
    ["404 of a proxy", 404, html, "away"],
    ["429", 429, undefined, "away"],
    ["500", 500, { code: "BCK.X402.0006" }, "away"],
    ["503", 503, { code: "BCK.X402.0051" }, "away"],
    ["201 of a proxy", 201, html, "away"],
    ["201 without a body", 201, undefined, "away"],
    ["201 without the word", 201, {}, "away"],
    ["201 with the word as a string", 201, { isValid: "true" }, "away"],
    ["202", 202, valid, "away"],
  ])("%s", (_what, status, body, expected) => {
    const answer = readVerification(came(status, body));
    expect("reason" in answer ? `${answer.status} ${answer.reason}` : answer.status).toBe(expected);
  });

  test("a fault of the configuration says what to mend", () => {
    expect(readVerification(came(401, undefined))).toMatchObject({
      message: expect.stringContaining("API key"),
    });
    expect(readVerification(came(404, { message: "Cannot POST /x402/verify" }))).toMatchObject({
      message: expect.stringContaining("base URL"),
    });
  });

  test("no answer at all is away, whatever was written", () => {
    for (const written of [false, true]) {
      const fault = { code: "ETIMEDOUT", message: "no answer within 3000 ms" };
      expect(readVerification({ written, fault })).toEqual({
        status: "away",
        message: "The ledger did not answer (no answer within 3000 ms).",
      });
    }
  });
});
