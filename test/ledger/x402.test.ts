import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { buyerKey, createLedger, devKey } from "../../src/ledger/index.ts";
import { funded, holder, mint, plan, redeem, send } from "./wire.ts";
import {
  buying,
  changed,
  network,
  permissions,
  required,
  settle,
  tokenOf,
  verify,
} from "./x402-wire.ts";

const hash = /^0x[0-9a-f]{64}$/;

test("a token is issued, verified and settled", async () => {
  const { ledger, token } = await buying(10);
  expect(JSON.parse(Buffer.from(token, "base64").toString())).toEqual({
    x402Version: 2,
    accepted: { scheme: "nvm:erc4337", network, planId: plan, extra: { version: "1" } },
    payload: {
      signature: expect.stringMatching(/^0x[0-9a-f]{130}$/),
      authorization: {
        from: holder,
        sessionKeysProvider: "zerodev",
        sessionKeys: [{ id: "redeem", data: expect.stringMatching(hash) }],
      },
    },
    extensions: {},
  });

  const verified = await verify(ledger, token, { maxAmount: "10" });
  expect(verified.status).toBe(201);
  expect(verified.body).toEqual({
    isValid: true,
    payer: holder,
    network,
    agentRequestId: expect.stringMatching(/^arId-[0-9a-f-]{36}$/),
  });
  expect(ledger.burns()).toEqual([]);

  const { agentRequestId } = verified.body;
  const settled = await settle(
    ledger,
    token,
    { maxAmount: "4", agentRequestId },
    { "x-correlation-id": "c-1", "idempotency-key": "k-1" },
  );
  expect(settled.status).toBe(201);
  expect(settled.body).toEqual({
    success: true,
    payer: holder,
    transaction: expect.stringMatching(hash),
    network,
    billingModel: "credits",
    creditsRedeemed: "4",
    remainingBalance: "6",
  });
  const burn = {
    planId: plan,
    holderAddress: holder.toLowerCase(),
    amount: 4,
    idempotencyKey: "k-1",
    agentRequestId,
    correlationId: "c-1",
  };
  expect(ledger.burns({ agentRequestId })).toMatchObject([burn]);
  expect(ledger.countBurns({ agentRequestId: "other" })).toBe(0);
  expect(ledger.audit()).toMatchObject({ burned: 4n });
  expect(ledger.requests()).toMatchObject({
    permissions: { 201: 1 },
    verify: { 201: 1 },
    settle: { 201: 1 },
  });
});

test("a token pays more than once, and each settlement has a transaction of its own", async () => {
  const { ledger, token } = await buying(3);
  const said = [await settle(ledger, token), await settle(ledger, token)];
  expect(said.map(({ body }) => body.remainingBalance)).toEqual(["2", "1"]);
  expect(new Set(said.map(({ body }) => body.transaction)).size).toBe(2);
});

test("the amount may be left out: then it is one credit, or what the plan always burns", async () => {
  const { ledger, token } = await buying(9);
  expect((await settle(ledger, token, { maxAmount: undefined })).body.creditsRedeemed).toBe("1");
  const fixed = await buying(9, { plans: { [plan]: { fixedAmount: 4 } } });
  const said = await settle(fixed.ledger, fixed.token, { maxAmount: undefined });
  expect(said.body).toMatchObject({ creditsRedeemed: "4", remainingBalance: "5" });
});

test("a plan of at most 3 burns 3 of 5, which suffice", async () => {
  const { ledger, token } = await buying(3, { plans: { [plan]: { maxPerRedeem: 3 } } });
  expect((await verify(ledger, token, { maxAmount: "5" })).body.isValid).toBe(true);
  expect((await settle(ledger, token, { maxAmount: "5" })).body.creditsRedeemed).toBe("3");
});

test("answers are decimal strings, or hold only what must be there", async () => {
  const { ledger, token } = await buying(Number.MAX_SAFE_INTEGER, { answers: "strings" });
  const all = String(Number.MAX_SAFE_INTEGER);
  ledger.answers = "empty";
  expect((await settle(ledger, token)).body).toEqual({
    success: true,
    transaction: expect.stringMatching(hash),
    network,
  });
  ledger.answers = "numbers";
  ledger.mint({ planId: plan, holderAddress: holder, amount: 1 });
  expect((await settle(ledger, token, { maxAmount: all })).body).toMatchObject({
    creditsRedeemed: all,
    remainingBalance: "0",
  });
});

test("holders are compared without case, and payer is as the buyer was named", async () => {
  const ledger = await funded(2);
  const token = await tokenOf(ledger, {}, holder.toUpperCase());
  expect((await settle(ledger, token)).body).toMatchObject({
    payer: holder.toUpperCase(),
    remainingBalance: "1",
  });
});

describe("a token is refused", () => {
  type World = Awaited<ReturnType<typeof buying>> & { now: { ms: number } };
  /** What is sent: a token, and other fields. */
  type Try = (world: World) => Promise<[token: string, fields?: Record<string, unknown>]>;

  test.each<[string, Try, status: number, code: string, reason: RegExp]>([
    ["that is no base64", async () => ["{}"], 400, "BCK.X402.0010", /must be base64/],
    ["that is no JSON", async () => ["AAAA"], 400, "BCK.X402.0010", /payment payload/],
    ["that is a list", async () => ["W10="], 400, "BCK.X402.0010", /payment payload/],
    [
      "of another version",
      async ({ token }) => [changed(token, (it) => (it.x402Version = 1))],
      400,
      "BCK.X402.0010",
      /x402 v2/,
    ],
    [
      "whose payer was changed",
      async ({ token }) => [changed(token, (it) => (it.payload.authorization.from = "0x2"))],
      402,
      "BCK.X402.0005",
      /did not issue it, or it was changed/,
    ],
    [
      "whose plan was changed",
      async ({ token }) => [changed(token, (it) => (it.accepted.planId = "other"))],
      402,
      "BCK.X402.0005",
      /changed/,
    ],
    [
      "whose signature was changed",
      async ({ token }) => [changed(token, (it) => (it.payload.signature = "0x"))],
      402,
      "BCK.X402.0005",
      /changed/,
    ],
    [
      "with a stray field",
      async ({ token }) => [changed(token, (it) => (it.extensions.more = 1))],
      402,
      "BCK.X402.0005",
      /changed/,
    ],
    [
      "of another ledger",
      async () => [(await buying(1)).token],
      402,
      "BCK.X402.0005",
      /did not issue it/,
    ],
    [
      "that has expired",
      async ({ token, now }) => {
        now.ms += 3_600_000;
        return [token];
      },
      402,
      "BCK.X402.0005",
      /expired/,
    ],
    [
      "that has been used, and may be only once",
      async ({ ledger }) => {
        const token = await tokenOf(ledger, { tokenVersion: 3 });
        expect((await settle(ledger, token)).body.success).toBe(true);
        return [token];
      },
      402,
      "BCK.X402.0059",
      /already been used/,
    ],
    [
      "for another plan than the seller's",
      async ({ token }) => [token, { paymentRequired: required({ planId: "other" }) }],
      400,
      "BCK.X402.0013",
      /scheme, network and plan/,
    ],
    [
      "on another network than the seller's",
      async ({ token }) => [token, { paymentRequired: required({ network: "eip155:8453" }) }],
      400,
      "BCK.X402.0013",
      /scheme, network and plan/,
    ],
    [
      "for another resource than the seller's",
      async ({ ledger }) => [await tokenOf(ledger, { resource: { url: "https://a.test/x" } })],
      400,
      "BCK.X402.0013",
      /another resource/,
    ],
    [
      "that pays less than is asked",
      async ({ token }) => [token, { maxAmount: "6" }],
      402,
      "BCK.CREDITS.0003",
      /Insufficient balance: the payer has 5 credits of the plan, 6 are needed/,
    ],
  ])("%s", async (_name, prepare, status, code, reason) => {
    const now = { ms: 1_000_000 };
    const { ledger, token } = await buying(5, { now: () => now.ms });
    const [sent, fields] = await prepare({ ledger, token, now });
    const before = ledger.countBurns();

    const verified = await verify(ledger, sent, fields);
    expect(verified.status).toBe(201);
    expect(verified.body).toMatchObject({
      isValid: false,
      invalidReason: expect.stringMatching(reason),
      network: expect.stringMatching(/^eip155:/),
    });
    expect(verified.body.agentRequestId).toBeUndefined();
    const settled = await settle(ledger, sent, { ...fields, agentRequestId: "a-1" });
    expect(settled.status).toBe(201);
    expect(settled.body).toMatchObject({
      success: false,
      errorReason: expect.stringMatching(reason),
      transaction: "",
      network: expect.stringMatching(/^eip155:/),
      creditsRedeemed: "0",
    });

    ledger.refusals = "problems";
    for (const ask of [verify, settle]) {
      const said = await ask(ledger, sent, fields);
      expect([said.status, said.body.code]).toEqual([status, code]);
      expect(said.body.message).toMatch(reason);
      expect(said.text).not.toContain(sent);
    }
    expect(ledger.countBurns()).toBe(before);
  });

  test("for a balance that is told", async () => {
    const { ledger, token } = await buying(5);
    expect((await settle(ledger, token, { maxAmount: "6" })).body).toMatchObject({
      payer: holder,
      remainingBalance: "5",
    });
  });
});

test.each([
  ["https://a.test/x?y=1", "https://a.test/x", true],
  ["https://a.test/x", "https://a.test/X", false],
  ["https://a.test/x", "https://b.test/x", false],
  ["https://a.test/x", "/x", false],
  ["/x", "/x", true],
  ["/x?y=1", "/x", false],
])("a token for %s at %s is valid: %s", async (minted, asked, isValid) => {
  const { ledger } = await buying(5);
  const token = await tokenOf(ledger, { resource: { url: minted, more: 1 } });
  const said = await verify(ledger, token, { paymentRequired: required({}, asked) });
  expect(said.body.isValid).toBe(isValid);
});

test("a token never expires where tokenTtlMs is null, and as long as it says elsewhere", async () => {
  const now = { ms: 0 };
  const endless = await buying(5, { now: () => now.ms, tokenTtlMs: null });
  const brief = await buying(5, { now: () => now.ms, tokenTtlMs: 10 });
  now.ms = 9;
  expect((await verify(brief.ledger, brief.token)).body.isValid).toBe(true);
  now.ms = 1e15;
  expect((await verify(brief.ledger, brief.token)).body.isValid).toBe(false);
  expect((await verify(endless.ledger, endless.token)).body.isValid).toBe(true);
});

test("a single-use token carries a nonce and what it is bound to; another does not", async () => {
  const { ledger } = await buying(5);
  const resource = { url: "https://a.test/x" };
  const extra = { agentId: "7", httpVerb: "POST" };
  const accepted = { scheme: "nvm:erc4337", network, planId: plan, extra };
  const read = (token: string) => JSON.parse(Buffer.from(token, "base64").toString());
  const token = await tokenOf(ledger, { accepted, resource, tokenVersion: 3 });
  expect(read(token)).toMatchObject({
    resource,
    accepted: { extra: { version: "1", ...extra } },
    payload: {
      authorization: { nonce: expect.stringMatching(hash), ...extra, resourceUrl: resource.url },
    },
  });
  const other = await tokenOf(ledger, { accepted, tokenVersion: 2 });
  expect(read(other).payload.authorization).not.toHaveProperty("nonce");
});

test.each<[string, (token: string) => string]>([
  ["in the alphabet for URLs", (token) => token.replaceAll("+", "-").replaceAll("/", "_")],
  ["without padding", (token) => token.replace(/=+$/, "")],
])("a token is the same token %s", async (_name, spell) => {
  // A name whose bytes need both letters in which the alphabets differ, and padding.
  const name = "0x\u00ff\u00fe\u00fb~~~???>>>";
  const { ledger } = await buying(5);
  ledger.mint({ planId: plan, holderAddress: name, amount: 5 });
  const token = await tokenOf(ledger, {}, name);
  const spelt = spell(token);
  const first = await settle(ledger, token, { agentRequestId: "a" });
  expect((await settle(ledger, spelt, { agentRequestId: "a" })).text).toBe(first.text);
  expect((await verify(ledger, spelt)).body).toMatchObject({ isValid: true, payer: name });
});

test.each([" ", "\n", "=", "*"])("a token with %j in it is another", async (stray) => {
  const { ledger, token } = await buying(5);
  for (const spelt of [`${token.slice(0, 8)}${stray}${token.slice(8)}`, `${stray}${token}`]) {
    expect((await verify(ledger, spelt)).body.isValid).toBe(false);
  }
});

test("paymentRequired may be base64, as the seller's header has it", async () => {
  const { ledger, token } = await buying(5);
  const paymentRequired = Buffer.from(JSON.stringify(required())).toString("base64");
  expect((await verify(ledger, token, { paymentRequired })).body.isValid).toBe(true);
});

describe("verify and settle refuse with 400", () => {
  const none = { paymentRequired: undefined };
  const but = (more: object) => ({ paymentRequired: { ...required(), ...more } });
  test.each<[string, Record<string, unknown>, RegExp]>([
    ["no paymentRequired", none, /paymentRequired/],
    ["a paymentRequired that is no base64", { paymentRequired: "*" }, /paymentRequired/],
    ["version 1", but({ x402Version: 1 }), /x402Version/],
    ["no resource", but({ resource: undefined }), /resource/],
    ["nothing that is accepted", but({ accepts: [] }), /accepts/],
    [
      "an environment as network",
      but({ accepts: [{ scheme: "s", network: "sandbox" }] }),
      /network/,
    ],
    ["no extensions", but({ extensions: undefined }), /extensions/],
    ["no token", { x402AccessToken: undefined }, /x402AccessToken/],
    ["an empty token", { x402AccessToken: "" }, /x402AccessToken/],
    ["a token that is an object", { x402AccessToken: {} }, /x402AccessToken/],
    ...[1, -1, 1.5, null, {}, "", " 1", "+1", "-1", "1.0", "1e3", "0x1", "01", "١", "Infinity"].map(
      (maxAmount): [string, Record<string, unknown>, RegExp] => [
        `maxAmount ${JSON.stringify(maxAmount)}`,
        { maxAmount },
        /maxAmount/,
      ],
    ),
    ["more than a safe integer", { maxAmount: "9007199254740992" }, /maxAmount/],
    ["digits without end", { maxAmount: "9".repeat(50_000) }, /maxAmount/],
  ])("%s", async (_name, fields, mistake) => {
    const { ledger, token } = await buying(5);
    for (const ask of [verify, settle]) {
      const said = await ask(ledger, token, fields);
      expect([said.status, said.body.code]).toEqual([400, "BCK.HTTP.400"]);
      expect(said.body.message).toMatch(mistake);
      expect(said.text).not.toContain(token);
    }
    expect(ledger.countBurns()).toBe(0);
  });

  test.each(["", "a b", "a\n", "ä", "a".repeat(129), 7, null])("the id %j", async (id) => {
    const { ledger, token } = await buying(5);
    const said = await settle(ledger, token, { agentRequestId: id });
    expect([said.status, said.body.code]).toEqual([400, "BCK.HTTP.400"]);
    expect((await verify(ledger, token, { agentRequestId: id })).body.isValid).toBe(true);
  });

  test("nothing to burn; to ask about nothing is allowed", async () => {
    const { ledger, token } = await buying(0);
    const said = await settle(ledger, token, { maxAmount: "0" });
    expect([said.status, said.body.code]).toEqual([400, "BCK.CREDITS.0002"]);
    expect((await verify(ledger, token, { maxAmount: "0" })).body.isValid).toBe(true);
  });
});

describe("permissions refuse", () => {
  const accepted = { scheme: "nvm:erc4337", network, planId: plan };
  test.each<[string, Record<string, unknown> | string, number, string]>([
    ["not JSON", "{", 400, "BCK.HTTP.400"],
    ["no body", "", 400, "BCK.HTTP.400"],
    ["nothing accepted", { accepted: undefined }, 400, "BCK.HTTP.400"],
    ["no scheme", { accepted: { ...accepted, scheme: undefined } }, 400, "BCK.HTTP.400"],
    ["a strange scheme", { accepted: { ...accepted, scheme: "exact" } }, 400, "BCK.HTTP.400"],
    ["an environment", { accepted: { ...accepted, network: "sandbox" } }, 400, "BCK.HTTP.400"],
    ["a plan as number", { accepted: { ...accepted, planId: 1 } }, 400, "BCK.HTTP.400"],
    ["extra that is text", { accepted: { ...accepted, extra: "x" } }, 400, "BCK.HTTP.400"],
    ["a resource without a URL", { resource: {} }, 400, "BCK.HTTP.400"],
    ["version 4", { tokenVersion: 4 }, 400, "BCK.HTTP.400"],
    [
      "a card",
      { accepted: { ...accepted, scheme: "nvm:card-delegation", network: "stripe" } },
      402,
      "BCK.X402.0034",
    ],
    ["a card's network", { accepted: { ...accepted, network: "visa" } }, 402, "BCK.X402.0034"],
    ["no plan", { accepted: { ...accepted, planId: undefined } }, 402, "BCK.X402.0030"],
    ["an unknown plan", { accepted: { ...accepted, planId: "other" } }, 404, "BCK.X402.0002"],
    ["65 KiB", { resource: { url: "x".repeat(65 * 1024) } }, 413, "BCK.HTTP.413"],
  ])("%s", async (_name, body, status, code) => {
    const ledger = await funded(5);
    const said = await permissions(ledger, body);
    expect([said.status, said.body.code]).toEqual([status, code]);
  });

  test("a key that is no buyer's", async () => {
    const ledger = await funded(5);
    const said = await permissions(ledger, {}, devKey);
    expect([said.status, said.body.code]).toEqual([404, "BCK.X402.0011"]);
    expect((await permissions(ledger, {}, buyerKey(holder))).status).toBe(401);
    ledger.addBuyer(holder);
    expect((await permissions(ledger, {}, buyerKey(holder))).status).toBe(201);
  });

  test("not a plan of which the holder has nothing: verify says so", async () => {
    const ledger = await funded(5);
    const token = await tokenOf(ledger, {}, "0xpoor");
    expect((await verify(ledger, token)).body).toMatchObject({
      isValid: false,
      invalidReason: expect.stringMatching(/has 0 credits/),
    });
  });
});

describe("buyers", () => {
  test("are named in the options, with a key or without", async () => {
    const buyers = [holder, { holderAddress: "0x2", key: "nvm:two" }];
    const ledger = await funded(5, { buyers });
    expect((await permissions(ledger, {}, buyerKey(holder))).status).toBe(201);
    expect((await permissions(ledger, {}, "nvm:two")).status).toBe(201);
  });

  test("are added as often as one likes; a key has one owner", async () => {
    const ledger = await funded(5);
    const key = ledger.addBuyer(holder);
    expect(key).toBe(buyerKey(holder));
    expect(ledger.addBuyer(holder.toLowerCase())).toBe(key);
    expect(ledger.addBuyer({ holderAddress: holder, key: "nvm:mine" })).toBe("nvm:mine");
    expect(() => ledger.addBuyer({ holderAddress: "0x2", key })).toThrow(/somebody else's/);
    expect(() => ledger.addBuyer({ holderAddress: "0x2", key: devKey })).toThrow(/somebody else's/);
    expect(() => ledger.addBuyer("")).toThrow(/holderAddress/);
    expect(() => ledger.addBuyer({ holderAddress: "0x2", key: "a b" })).toThrow(/white space/);
    expect(ledger.addBuyer("a name: ü")).not.toMatch(/\s/);
  });

  test("own no plan: they cannot mint, redeem, verify or settle", async () => {
    const { ledger, token } = await buying(5);
    const authorization = `Bearer ${buyerKey(holder)}`;
    for (const said of [
      await mint(ledger, {}, { authorization }),
      await redeem(ledger, {}, { authorization }),
      await verify(ledger, token, {}, { authorization }),
      await settle(ledger, token, {}, { authorization }),
    ]) {
      expect([said.status, said.body.code]).toEqual([403, "BCK.AUTH.0003"]);
    }
    expect(ledger.balance(plan, holder)).toBe(5);
  });
});

describe("a seller's key", () => {
  test.each([
    [undefined, 401, "BCK.AUTH.0002"],
    ["nvm:all", 401, "BCK.APIKEY.0006"],
    ["Bearer nvm:other", 401, "BCK.APIKEY.0004"],
    ["Bearer nvm:gone", 403, "BCK.APIKEY.0001"],
    ["Bearer nvm:one", 403, "BCK.AUTH.0003"],
    ["Bearer nvm:all", 201, undefined],
  ])("%s is %i", async (authorization, status, code) => {
    const keys = [
      "nvm:all",
      { key: "nvm:one", plans: ["other"] },
      { key: "nvm:gone", registered: false },
    ];
    const { ledger, token } = await buying(5, { keys });
    for (const ask of [verify, settle]) {
      const said = await ask(ledger, token, {}, { authorization });
      expect([said.status, said.body.code]).toEqual([status, code]);
    }
  });
});

describe("hostile input", () => {
  const deep = (open: string, close: string) => `${open.repeat(5_000)}${close.repeat(5_000)}`;
  const lists = deep("[", "]");
  const objects = `${'{"a":'.repeat(5_000)}1${"}".repeat(5_000)}`;
  const token = (json: string) => Buffer.from(json).toString("base64");

  test.each([lists, objects])("that is deep is no 500", async (value) => {
    const ledger = await funded(5);
    ledger.addBuyer(holder);
    const valid = JSON.stringify(required());
    const bodies = [
      value,
      `{"paymentRequired":${value},"x402AccessToken":"AAAA"}`,
      `{"paymentRequired":${valid.replace('"extensions":{}', `"extensions":{"x":${value}}`)},"x402AccessToken":"${token(value)}"}`,
      `{"paymentRequired":"${token(value)}","x402AccessToken":"AAAA","maxAmount":${value}}`,
      `{"accepted":${value}}`,
      `{"accepted":{"scheme":"nvm:erc4337","network":"${network}","planId":"${plan}","extra":{"deep":${value}}}}`,
    ];
    for (const path of ["permissions", "verify", "settle"]) {
      for (const body of bodies) {
        const key = path === "permissions" ? buyerKey(holder) : ledger.key;
        const said = await send(ledger, "POST", `/x402/${path}`, body, {
          authorization: `Bearer ${key}`,
        });
        expect(said.status).toBeLessThan(500);
      }
    }
    expect(ledger.countBurns()).toBe(0);
  });

  test.each(["__proto__", "constructor", "a\u0000b", "\ud800", "' OR 1=1 --"])(
    "plan %j is a plan like any other",
    async (planId) => {
      const ledger = await funded(0, { plans: JSON.parse('{"__proto__":{"maxPerRedeem":2}}') });
      ledger.mint({ planId, holderAddress: holder, amount: 5 });
      const accepted = { scheme: "nvm:erc4337", network, planId };
      const issued = await permissions(ledger, { accepted });
      expect(issued.status).toBe(201);
      const paymentRequired = required({ planId });
      const fields = { paymentRequired, maxAmount: "3" };
      expect((await verify(ledger, issued.body.accessToken, fields)).status).toBe(201);
      expect((await settle(ledger, issued.body.accessToken, fields)).status).toBe(201);
    },
  );

  test("of one other letter is another token, or the same bytes", async () => {
    const { ledger, token } = await buying(5);
    const bytes = Buffer.from(token, "base64");
    const letter = fc.tuple(fc.nat(token.length - 1), fc.string({ unit: "binary", maxLength: 2 }));
    await fc.assert(
      fc.asyncProperty(letter, async ([at, other]) => {
        const sent = `${token.slice(0, at)}${other}${token.slice(at + 1)}`;
        const same = /^[\w+/=-]*$/.test(sent) && Buffer.from(sent, "base64").equals(bytes);
        const said = await verify(ledger, sent);
        expect([said.status, said.body.isValid]).toEqual([201, same]);
      }),
      { numRuns: 100 },
    );
  });

  test("of bytes that are no text is no 500", async () => {
    const { ledger } = await buying(5);
    for (const bytes of [[0xff, 0xfe], [0x22, 0xed, 0xa0, 0x80, 0x22], [0]]) {
      const said = await settle(ledger, Buffer.from(bytes).toString("base64"));
      expect(said.body.success).toBe(false);
    }
  });
});

test.each([
  [{ requestIds: "honor" }, /requestIds/],
  [{ refusals: "402" }, /refusals/],
  [{ tokenTtlMs: 0 }, /tokenTtlMs/],
  [{ tokenTtlMs: 1.5 }, /tokenTtlMs/],
  [{ buyers: [{ holder: "0x1" }] }, /buyers/],
  [{ buyers: [{ holderAddress: "0x1", key: devKey }] }, /somebody else's/],
  [{ now: 5 }, /now/],
])("options %o are refused", async (options, mistake) => {
  await expect(createLedger(options as object)).rejects.toThrow(mistake);
});
