import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readToken } from "../../../src/middleware/x402/token.ts";
import { buying, network } from "../../ledger/x402-wire.ts";

const holder = "0xAb5801a7D398351b8bE11C439e05C5B3259aeC9B";
const planId = "105906633592154016758765410316205104987611087612345678901234567890123456789012";
const accepted = { scheme: "nvm:erc4337", network, planId, extra: { version: "1" } };
const authorization = { from: holder, sessionKeysProvider: "zerodev", sessionKeys: [] };
const whole = {
  x402Version: 2,
  accepted,
  payload: { signature: "0x01", authorization },
  extensions: {},
};

const base64 = (text: string | Uint8Array) => Buffer.from(text as string).toString("base64");
const encode = (value: unknown) => base64(JSON.stringify(value));
const detailOf = (header: string) => {
  const reading = readToken(header);
  return reading.ok ? undefined : reading.detail;
};
const expiryOf = (payload: object) => {
  const reading = readToken(encode({ ...whole, payload: { ...whole.payload, ...payload } }));
  return reading.ok ? reading.token.expiresAt : reading.detail;
};
const jwt = (claims: unknown) =>
  `eyJhbGciOiJFUzI1NiJ9.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.c2ln`;

test("a token is read", () => {
  expect(readToken(encode(whole))).toEqual({
    ok: true,
    token: {
      planId,
      holderAddress: holder,
      scheme: "nvm:erc4337",
      network,
      accepted,
      expiresAt: null,
    },
  });
});

test("a token of the embedded ledger is read, single-use or not", async () => {
  const { token } = await buying(1);
  expect(readToken(token)).toMatchObject({ ok: true, token: { scheme: "nvm:erc4337", network } });
});

test("the example of x402's specification is read where it names a plan", () => {
  // Section 5.2.1.
  const example = {
    x402Version: 2,
    resource: { url: "https://api.example.com/premium-data", mimeType: "application/json" },
    accepted: {
      scheme: "exact",
      network: "eip155:84532",
      amount: "10000",
      asset: "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
      payTo: "0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
      maxTimeoutSeconds: 60,
      extra: { name: "USDC", version: "2" },
    },
    payload: {
      signature: "0x2d6a7588d6acca505cbf0d9a4a227e0c52c6c34008c8e8986a1283259764173608a2ce64",
      authorization: {
        from: "0x857b06519E91e3A54538791bDbb0E22373e36b66",
        to: "0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
        value: "10000",
        validAfter: "1740672089",
        validBefore: "1740672154",
        nonce: "0xf3746613c2d920b5fdabc0856f2aeb2d4f88ee6037b8cc5d04a71a4462f13480",
      },
    },
    extensions: {},
  };
  expect(detailOf(encode(example))).toMatch(/Add the access token's accepted.planId/);
  const paid = { ...example, accepted: { ...example.accepted, planId: "1059" } };
  expect(readToken(encode(paid))).toMatchObject({
    ok: true,
    token: { planId: "1059", scheme: "exact", accepted: paid.accepted, expiresAt: 1740672154_000 },
  });
});

test("a card delegation passes through as it came, and ends when its JWT does", () => {
  // nevermined-io/docs, specs/x402-card-delegation, section 3.2.
  const card = {
    scheme: "nvm:card-delegation",
    network: "stripe",
    planId: "plan_abc123",
    extra: { version: "1", "x-more": [1, null, { ä: "🦜" }] },
  };
  const payload = {
    token: jwt({ iss: "https://api.nevermined.app", exp: 1_780_000_000 }),
    authorization: { from: holder, sessionKeys: [{ id: "redeem", data: "0xabc123" }] },
  };
  expect(readToken(encode({ ...whole, accepted: card, payload }))).toEqual({
    ok: true,
    token: {
      planId: "plan_abc123",
      holderAddress: holder,
      scheme: "nvm:card-delegation",
      network: "stripe",
      accepted: card,
      expiresAt: 1_780_000_000_000,
    },
  });
});

describe("an expiry", () => {
  const ending = (validBefore: unknown) => ({ authorization: { ...authorization, validBefore } });
  test.each<[what: string, payload: object, ms: number | null]>([
    ["as a decimal string", ending("1740672154"), 1_740_672_154_000],
    ["as a number", ending(1_740_672_154), 1_740_672_154_000],
    ["long ago", ending("0"), 0],
    ["that means never", ending("115792089237316195423570985008687907853269984665640"), null],
    ["past the end of time", ending("9999999999999999"), null],
    ["that is no number", ending("soon"), null],
    ["that is negative", ending(-5), null],
    ["that is null", ending(null), null],
    ["of a JWT", { token: jwt({ exp: 1_780_000_000 }) }, 1_780_000_000_000],
    ["of a JWT in fractions", { token: jwt({ exp: 1_780_000_000.5 }) }, 1_780_000_000_500],
    ["of a JWT without one", { token: jwt({ iat: 1 }) }, null],
    ["of a JWT that is none", { token: "a.b.c" }, null],
    ["of a JWT whose claims are a list", { token: jwt([1]) }, null],
    ["of a token in one piece", { token: "opaque" }, null],
    ["of a token that is an object", { token: {} }, null],
    [
      "of both is the earlier",
      { ...ending("1740672154"), token: jwt({ exp: 1_780_000_000 }) },
      1_740_672_154_000,
    ],
  ])("%s", (_what, payload, ms) => {
    expect(expiryOf(payload)).toBe(ms);
  });
});

describe("the spelling", () => {
  // Holds both letters in which the alphabets differ, and needs padding.
  const text = JSON.stringify({ ...whole, extensions: { note: "ÿþû~~~???>>>>" } });
  const standard = base64(text);
  const url = Buffer.from(text).toString("base64url");
  const mixed = standard.replace("+", "-");

  test("differs in the two alphabets, and may lack padding", () => {
    expect([/\+/.test(standard), /\//.test(standard), /=$/.test(standard)]).toEqual(
      Array(3).fill(true),
    );
    const first = readToken(standard);
    expect(first.ok).toBe(true);
    for (const spelt of [url, standard.replace(/=+$/, ""), `${url}${standard.match(/=+$/)?.[0]}`]) {
      expect(readToken(spelt)).toEqual(first);
    }
  });

  /** The last letter before the padding, with a bit that nobody reads. */
  const stray = (() => {
    const at = standard.indexOf("=") - 1;
    const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const next = letters[letters.indexOf(standard[at] ?? "") + 1];
    return `${standard.slice(0, at)}${next}${standard.slice(at + 1)}`;
  })();

  test.each([
    ["nothing", ""],
    ["both alphabets in one", mixed],
    ["bits that are left over", stray],
    ["a blank in it", `${standard.slice(0, 9)} ${standard.slice(9)}`],
    ["a line break at its end", `${standard}\n`],
    ["a comma, as of two headers", `${standard}, ${standard}`],
    ["too much padding", `${standard}=`],
    ["padding that is not due", `${base64("{}  ")}==`],
    ["half of its padding", "ab="],
    ["a letter too many", `${url.slice(0, url.length - (url.length % 4))}A`],
    ["padding alone", "=="],
    ["text", "Bearer abc"],
    ["letters of another alphabet", "äöü="],
    ["JSON as it is", text],
  ])("of %s is refused", (_what, header) => {
    expect(detailOf(header)).toMatch(/as base64/);
  });

  test("of more than 8 KiB is refused, and of 8 KiB is not", () => {
    const padded = (length: number) => {
      const empty = encode({ ...whole, extensions: { note: "" } });
      const room = Math.floor(((length - empty.length) * 3) / 4);
      return encode({ ...whole, extensions: { note: "x".repeat(room) } });
    };
    expect(padded(8192).length).toBeLessThanOrEqual(8192);
    expect(readToken(padded(8192)).ok).toBe(true);
    expect(padded(8196).length).toBeGreaterThan(8192);
    expect(detailOf(padded(8196))).toMatch(/8192 bytes or less/);
    expect(detailOf("A".repeat(1_000_000))).toMatch(/8192 bytes or less/);
  });
});

describe("a token is refused", () => {
  const text = JSON.stringify(whole);
  const but = (fields: object) => encode({ ...whole, ...fields });
  const deep = (levels: number) => `${"[".repeat(levels)}${"]".repeat(levels)}`;
  const nested = (levels: number) => base64(text.replace('"extensions":{}', `"x":${deep(levels)}`));

  test.each<[what: string, header: string, detail: RegExp]>([
    ["that is no JSON", base64("{"), /no JSON/],
    ["that is no UTF-8", base64(Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22])), /no UTF-8/],
    ["that is overlong UTF-8", base64(Buffer.from([0x22, 0xc0, 0xaf, 0x22])), /no UTF-8/],
    ["that is UTF-16", base64(Buffer.from(text, "utf16le")), /no JSON/],
    ["with a byte order mark", base64(`\ufeff${text}`), /no JSON/],
    ["with something after it", base64(`${text}{}`), /no JSON/],
    ["that is a list", encode([whole]), /must be an object/],
    ["that is null", encode(null), /must be an object/],
    ["that is a string", encode("{}"), /must be an object/],
    ["that is a number", encode(2), /must be an object/],
    ["of version 1", but({ x402Version: 1 }), /version 2/],
    ["of version 2 as a string", but({ x402Version: "2" }), /must be the number 2/],
    ["without a version", but({ x402Version: undefined }), /version 2/],
    ["without accepted", but({ accepted: undefined }), /accepted must be an object/],
    ["with a list as accepted", but({ accepted: [accepted] }), /accepted must be an object/],
    ["without payload", but({ payload: undefined }), /payload must be an object/],
    ["with a string as payload", but({ payload: "x" }), /payload must be an object/],
    ["without a scheme", but({ accepted: { ...accepted, scheme: undefined } }), /accepted.scheme/],
    ["with an empty scheme", but({ accepted: { ...accepted, scheme: "" } }), /accepted.scheme/],
    ["with a network that is a number", but({ accepted: { ...accepted, network: 1 } }), /network/],
    [
      "with a long network",
      but({ accepted: { ...accepted, network: "n".repeat(129) } }),
      /network/,
    ],
    ["without a plan", but({ accepted: { ...accepted, planId: undefined } }), /accepted.planId/],
    ["with a plan that is a number", but({ accepted: { ...accepted, planId: 5 } }), /planId/],
    ["with a plan that has a blank", but({ accepted: { ...accepted, planId: "a b" } }), /planId/],
    ["with a long plan", but({ accepted: { ...accepted, planId: "1".repeat(257) } }), /planId/],
    ["without a payer", but({ payload: { authorization: {} } }), /authorization.from/],
    ["without an authorization", but({ payload: { token: "t" } }), /authorization.from/],
    ["with a list as authorization", but({ payload: { authorization: [] } }), /authorization.from/],
    [
      "with a name as payer",
      but({ payload: { authorization: { from: "a" } } }),
      /0x followed by 40/,
    ],
    [
      "with a payer and a line break",
      but({ payload: { authorization: { from: `${holder}\n` } } }),
      /0x followed by 40/,
    ],
    ["nested too deep", nested(16), /more than 16 deep/],
    ["nested without end", nested(2800), /more than 16 deep/],
    ["with a large number", base64(text.replace("{}", '{"n":9007199254740993}')), /too large/],
    ["with a larger number", base64(text.replace("{}", '{"n":[-1e400]}')), /too large/],
    [
      "with __proto__",
      base64(text.replace("{}", '{"__proto__":{"x402Version":2}}')),
      /named __proto__/,
    ],
    [
      "with __proto__ in disguise",
      base64(text.replace("{}", '{"\\u005f_proto__":1}')),
      /named __proto__/,
    ],
    [
      "with two versions",
      base64(text.replace("{", '{"x402Version":2,')),
      /two fields of the same name/,
    ],
    [
      "with two payers",
      base64(text.replace('"from"', '"from":"0x1","from"')),
      /two fields of the same name/,
    ],
    [
      "with two plans, one in disguise",
      base64(text.replace('"planId"', '"pl\\u0061nId":"1","planId"')),
      /two fields of the same name/,
    ],
    [
      "with two equal names where nobody looks",
      base64(text.replace("{}", '[[{"a":1,"b":{"a":2},"a":1}]]')),
      /two fields of the same name/,
    ],
  ])("%s", (_what, header, detail) => {
    expect(detailOf(header)).toMatch(detail);
  });

  test("but not for what only looks like that", () => {
    for (const extensions of [
      '{"a":{"b":1},"b":[{"b":2},{"b":3}]}',
      '{"a":"{\\"x\\":1,\\"x\\":2}","b":"\\\\","c":"\\"","d":[]}',
      '{"":1," ":2,"constructor":3,"toString":4,"hasOwnProperty":5}',
      '{"n":[0,-0,1.5e3,-9007199254740991,1e-400],"\ud83e\udd9c":true}',
      deep(15),
    ]) {
      expect(detailOf(base64(text.replace("{}", extensions)))).toBeUndefined();
    }
  });

  test("without a word of what it holds", () => {
    const secret = "c0ffee42c0ffee42c0ffee42";
    for (const header of [
      but({ x402Version: secret }),
      but({ accepted: { ...accepted, planId: `${secret} ` } }),
      but({ payload: { authorization: { from: secret } } }),
      base64(`{"${secret}":1,"${secret}":2}`),
      `${base64(secret)}*`,
    ]) {
      expect(detailOf(header)).not.toContain(secret);
    }
  });
});

describe("whatever comes", () => {
  test("it is read or refused, and never throws", () => {
    const almost = fc
      .record({
        x402Version: fc.constantFrom(2, 1, "2", null),
        accepted: fc.oneof(fc.constant(accepted), fc.jsonValue()),
        payload: fc.oneof(fc.record({ authorization: fc.jsonValue() }), fc.jsonValue()),
      })
      .map(encode);
    const any = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.base64String(),
      fc.uint8Array().map(base64),
      fc.json().map(base64),
      almost,
    );
    fc.assert(
      fc.property(any, (header) => {
        const reading = readToken(header);
        if (!reading.ok) expect(reading.detail).toMatch(/^[A-Z].*\.$/s);
        else expect(reading.token.accepted).toEqual(accepted);
      }),
      { numRuns: 400 },
    );
  });

  const visible = fc.string({
    unit: fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code)),
    minLength: 1,
    maxLength: 64,
  });
  const tree = fc
    .jsonValue({ maxDepth: 5 })
    .filter((value) => !/__proto__|e\+|\d{16}/.test(JSON.stringify(value)));

  test("what was written is read, in any spelling and however it is set out", () => {
    fc.assert(
      fc.property(
        fc.record({ scheme: visible, network: visible, planId: visible, extra: tree }),
        fc.stringMatching(/^0x[0-9a-fA-F]{40}$/),
        fc.integer({ min: 0, max: 4_000_000_000 }),
        fc.constantFrom("base64", "base64url"),
        fc.nat({ max: 2 }),
        (accepted, from, end, alphabet, indent) => {
          const payload = { authorization: { validBefore: String(end), from } };
          const text = JSON.stringify(
            { extensions: {}, payload, accepted, x402Version: 2 },
            null,
            indent,
          );
          const header = Buffer.from(text).toString(alphabet as "base64");
          fc.pre(header.length <= 8192);
          const { planId, scheme, network } = accepted;
          expect(readToken(header)).toEqual({
            ok: true,
            token: {
              planId,
              holderAddress: from,
              scheme,
              network,
              accepted: JSON.parse(JSON.stringify(accepted)),
              expiresAt: end * 1000,
            },
          });
        },
      ),
    );
  });

  test("a name that comes twice in one object is refused, wherever it is", () => {
    const names = fc.uniqueArray(fc.string(), { minLength: 1, maxLength: 5 });
    const path = fc.array(fc.constantFrom('{"in":', '[0,{"in":', "["), { maxLength: 4 });
    const closing: Record<string, string> = { '{"in":': "}", '[0,{"in":': "}]", "[": "]" };
    fc.assert(
      fc.property(names, path, fc.nat(), fc.boolean(), (names, path, at, isTwice) => {
        fc.pre(!names.includes("__proto__"));
        const twice = names[at % names.length] ?? "";
        const all = isTwice ? [...names, twice] : names;
        const object = `{${all.map((name, index) => `${JSON.stringify(name)}:${index}`).join(",")}}`;
        const inner = `${path.join("")}${object}${path
          .map((it) => closing[it])
          .reverse()
          .join("")}`;
        const text = JSON.stringify(whole).replace(
          '"extensions":{}',
          () => `"extensions":${inner}`,
        );
        expect(readToken(base64(text)).ok).toBe(!isTwice);
      }),
    );
  });

  test("of two spellings of one token none is another token", () => {
    const header = encode(whole);
    const reading = readToken(header);
    const letter = fc.tuple(fc.nat(header.length - 1), fc.base64String({ maxLength: 4 }));
    fc.assert(
      fc.property(letter, ([at, other]) => {
        const sent = `${header.slice(0, at)}${other}${header.slice(at + 1)}`;
        const changed = readToken(sent);
        const bytes = (it: string) => Buffer.from(it, "base64").toString("base64");
        if (changed.ok && bytes(sent) === bytes(header)) {
          expect(changed).toEqual(reading);
          expect(sent.replace(/=+$/, "")).toBe(header.replace(/=+$/, ""));
        }
      }),
    );
  });
});
