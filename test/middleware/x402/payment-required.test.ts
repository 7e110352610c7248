import { decodePaymentRequiredHeader, x402HTTPClient } from "@x402/core/http";
import { parsePaymentRequired } from "@x402/core/schemas";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  createPaymentRequired,
  encodePaymentRequired,
  networkOf,
  type Offer,
  withAccepted,
} from "../../../src/middleware/x402/payment-required.ts";
import { readToken } from "../../../src/middleware/x402/token.ts";
import { verificationOf } from "./world.ts";

const planId = "105906633592154016758765410316205104987611087612345678901234567890123456789012";
const offer: Offer = {
  planIds: [planId, "did:nv:abc"],
  network: "eip155:84532",
  publicUrl: "https://api.example.com",
  originalUrl: "/v1/chat?token=secret",
  httpVerb: "POST",
  agentId: "809184",
  description: "Chat, paid by the token",
  mimeType: "application/json",
  error: "Send an access token.",
};
const required = createPaymentRequired(offer);
const decode = (header: string) => JSON.parse(Buffer.from(header, "base64").toString());
const urlOf = (originalUrl: string, publicUrl: string | undefined = offer.publicUrl) =>
  createPaymentRequired({ ...offer, originalUrl, publicUrl }).resource.url;

test("holds every plan that is sold, and what was offered", () => {
  const extra = { version: "1", agentId: "809184", httpVerb: "POST" };
  const scheme = { scheme: "nvm:erc4337", network: "eip155:84532", extra };
  expect(required).toEqual({
    x402Version: 2,
    error: "Send an access token.",
    resource: {
      url: "https://api.example.com/v1/chat",
      description: "Chat, paid by the token",
      mimeType: "application/json",
    },
    accepts: [
      { ...scheme, planId },
      { ...scheme, planId: "did:nv:abc" },
    ],
    extensions: {},
  });
});

test("leaves out what was not offered", () => {
  const { planIds, network, originalUrl } = offer;
  const bare = createPaymentRequired({ planIds: planIds.slice(1), network, originalUrl });
  expect(JSON.stringify(bare)).toBe(
    '{"x402Version":2,"resource":{"url":"/v1/chat"},"accepts":[{"scheme":"nvm:erc4337","network":"eip155:84532","planId":"did:nv:abc","extra":{"version":"1"}}],"extensions":{}}',
  );
});

test.each([
  ["live", "eip155:8453"],
  ["staging_live", "eip155:8453"],
  ["sandbox", "eip155:84532"],
  ["staging_sandbox", "eip155:84532"],
  ["my own", "eip155:84532"],
])("the network of %s is %s", (environment, network) => {
  expect(networkOf(environment)).toBe(network);
});

describe("the address of the resource", () => {
  test.each([
    ["/v1/chat", "https://api.example.com/v1/chat"],
    ["/v1/chat?key=secret", "https://api.example.com/v1/chat"],
    ["/v1/chat#part", "https://api.example.com/v1/chat"],
    ["/", "https://api.example.com/"],
    ["", "https://api.example.com/"],
    ["*", "https://api.example.com/*"],
    ["/a/../../../b", "https://api.example.com/b"],
    ["/%2e%2e/%2E./b", "https://api.example.com/b"],
    ["//evil.test/a", "https://api.example.com/evil.test/a"],
    ["/\\evil.test/a", "https://api.example.com/evil.test/a"],
    ["/..//evil.test/a", "https://api.example.com/evil.test/a"],
    ["/\t/evil.test/a", "https://api.example.com/evil.test/a"],
    ["http://evil.test/a?b", "https://api.example.com/a"],
    ["https://user:secret@evil.test:99/a", "https://api.example.com/a"],
    ["http://evil.test", "https://api.example.com/"],
    ["/ä b", "https://api.example.com/%C3%A4%20b"],
  ])("of %j", (originalUrl, url) => {
    expect(urlOf(originalUrl)).toBe(url);
  });

  test("of a path that would fill the header is that of the whole API", () => {
    const longest = `/${"a".repeat(1023)}`;
    expect(urlOf(longest)).toBe(`https://api.example.com${longest}`);
    expect(urlOf(`${longest}a`)).toBe("https://api.example.com/");
    expect(urlOf("/ü".repeat(300))).toBe("https://api.example.com/");
  });

  test.each([
    ["https://api.example.com/", "https://api.example.com/v1"],
    ["https://api.example.com/base", "https://api.example.com/base/v1"],
    ["https://api.example.com/base//", "https://api.example.com/base/v1"],
    ["https://user:secret@api.example.com:8443/?a=1#b", "https://api.example.com:8443/v1"],
  ])("below %s", (publicUrl, url) => {
    expect(urlOf("/v1?x", publicUrl)).toBe(url);
    expect(urlOf("/../../v1", publicUrl)).toBe(url);
  });

  test("never leaves the public URL, and holds no query", () => {
    const piece = fc.constantFrom(
      "/",
      "\\",
      "..",
      "%2e",
      "@",
      ":",
      "http:",
      "?",
      "#",
      "a",
      "\t",
      "ü",
    );
    const target = fc.oneof(
      fc.array(piece).map((it) => it.join("")),
      fc.string({ unit: "binary" }),
    );
    fc.assert(
      fc.property(target, (originalUrl) => {
        const below = urlOf(originalUrl, "https://api.example.com/base");
        const { origin, pathname, search, hash, username, password } = new URL(below);
        const rest = [search, hash, username, password].join("");
        expect([origin, pathname.slice(0, 6), rest]).toEqual([
          "https://api.example.com",
          "/base/",
          "",
        ]);
        const alone = createPaymentRequired({ ...offer, originalUrl, publicUrl: undefined });
        expect(alone.resource.url).toMatch(/^\/(?!\/)[\x21-\x7e]*$/);
      }),
      { numRuns: 100 },
    );
  });
});

describe("the header", () => {
  test("is the object, as base64", () => {
    expect(decode(encodePaymentRequired(required))).toEqual(required);
  });

  test("stays below 6 KiB: plans that do not fit are left out, and it says so", () => {
    const planIds = Array.from({ length: 3_000 }, (_, index) => String(index).padStart(78, "1"));
    const many = createPaymentRequired({ ...offer, planIds });
    const header = encodePaymentRequired(many);
    expect(header.length).toBeLessThanOrEqual(6 * 1024);
    const { accepts, error, ...rest } = decode(header);
    expect(accepts).toEqual(many.accepts.slice(0, accepts.length));
    expect(error).toBe(`Send an access token. Only ${accepts.length} of 3000 plans fit in here.`);
    expect(rest).toEqual({ x402Version: 2, resource: many.resource, extensions: {} });
    // One more would not have fitted.
    const more = { ...many, error, accepts: many.accepts.slice(0, accepts.length + 1) };
    expect(Buffer.from(JSON.stringify(more)).toString("base64").length).toBeGreaterThan(6 * 1024);
  });

  test("is as long as it may be, whatever is sold", () => {
    const plans = fc.array(fc.stringMatching(/^[\x21-\x7e]{1,256}$/), { maxLength: 60 });
    fc.assert(
      fc.property(plans, (planIds) => {
        const header = encodePaymentRequired(createPaymentRequired({ ...offer, planIds }));
        expect(header).toMatch(/^[A-Za-z0-9+/]+={0,2}$/);
        expect(header.length).toBeLessThanOrEqual(6 * 1024);
        const { accepts, error } = decode(header);
        expect(/Only \d+ of/.test(error)).toBe(accepts.length < planIds.length);
      }),
    );
  });
});

describe("x402 v2", () => {
  /** Where each of our fields stands in the specification (specs/x402-specification-v2.md), or whose it is. */
  const sections: Record<string, string> = {
    x402Version: "5.1.2 PaymentRequired: required, must be 2",
    error: "5.1.2 PaymentRequired: optional, for a person",
    resource: "5.1.2 PaymentRequired: required",
    "resource.url": "5.1.2 ResourceInfo: required",
    "resource.description": "5.1.2 ResourceInfo: optional",
    "resource.mimeType": "5.1.2 ResourceInfo: optional",
    accepts: "5.1.2 PaymentRequired: required",
    "accepts[].scheme": "5.1.2 PaymentRequirements: required",
    "accepts[].network": "5.1.2 PaymentRequirements: required, CAIP-2",
    "accepts[].planId": "Nevermined, specs/x402-smart-accounts, 3.3 Scheme Fields: required",
    "accepts[].extra": "5.1.2 PaymentRequirements: optional, the scheme's own",
    "accepts[].extra.version": "Nevermined, 3.3 Extra Fields: required",
    "accepts[].extra.agentId": "Nevermined, 3.3 Extra Fields: optional",
    "accepts[].extra.httpVerb": "Nevermined, 3.3 Extra Fields: optional",
    extensions: "5.1.2 PaymentRequired: optional; Nevermined: required, empty",
  };
  /** Of section 5.1.2 too: what credits have no use for, and Nevermined's scheme therefore has not. */
  const absent = ["amount", "asset", "payTo", "maxTimeoutSeconds"];

  function pathsOf(value: unknown, path: string): string[] {
    if (Array.isArray(value))
      return value.flatMap((item) => pathsOf(item, `${path}[]`).slice(1)).concat(path);
    if (typeof value !== "object" || value === null) return [path];
    const inner = Object.entries(value).flatMap(([name, item]) =>
      pathsOf(item, path === "" ? name : `${path}.${name}`),
    );
    return [path, ...inner];
  }

  test("or Nevermined's scheme has every field of ours, and we have every one of theirs", () => {
    const paths = new Set(pathsOf(required, "").filter((path) => path !== ""));
    expect([...paths].sort()).toEqual(Object.keys(sections).sort());
  });

  test("is what its own client reads", () => {
    const header = encodePaymentRequired(required);
    expect(decodePaymentRequiredHeader(header)).toEqual(required);
    const client = new x402HTTPClient({} as never);
    // Transport HTTP v2, "Payment Required Signaling".
    const read = client.getPaymentRequiredResponse((name) =>
      name === "PAYMENT-REQUIRED" ? header : null,
    );
    expect(read).toEqual(required);
  });

  test("has a strict schema that misses no more than what credits have no use for", () => {
    const read = parsePaymentRequired(decode(encodePaymentRequired(required)));
    const paths = read.error?.issues.map(({ path }) => path.join("."));
    expect(paths).toEqual(
      [0, 1].flatMap((index) => absent.map((field) => `accepts.${index}.${field}`)),
    );
    const filled = { amount: "1", asset: "credits", payTo: "seller", maxTimeoutSeconds: 60 };
    const accepts = required.accepts.map((scheme) => ({ ...scheme, ...filled }));
    expect(parsePaymentRequired({ ...required, accepts }).success).toBe(true);
  });
});

describe("what goes to verify and settle", () => {
  const ours = required.accepts[1];

  test("is ours where the token is for what we offer", () => {
    const accepted = { scheme: "nvm:erc4337", network: "eip155:84532", planId: "did:nv:abc" };
    expect(withAccepted(required, { ...accepted, extra: { stray: 1 } })).toEqual({
      ...required,
      accepts: [ours],
    });
  });

  test.each([
    [{ scheme: "nvm:card-delegation", network: "stripe", planId: "did:nv:abc", extra: { a: [1] } }],
    [{ scheme: "nvm:erc4337", network: "eip155:8453", planId: "did:nv:abc" }],
    [{ scheme: "nvm:erc4337", network: "eip155:84532", planId: "other" }],
  ])("is the buyer's as it came elsewhere: %j", (accepted) => {
    const all = withAccepted(required, accepted);
    expect(all).toEqual({ ...required, accepts: [accepted] });
    expect(all.accepts[0]).toBe(accepted);
    expect(required.accepts).toHaveLength(2);
  });

  test("is what the embedded ledger takes", async () => {
    const { token, verify } = await verificationOf("https://api.example.com/v1/chat");
    const reading = readToken(token);
    if (!reading.ok) throw new Error(reading.detail);
    const { planId, accepted } = reading.token;
    const asked = withAccepted(createPaymentRequired({ ...offer, planIds: [planId] }), accepted);
    expect(await verify(asked)).toMatchObject({ isValid: true });
    const elsewhere = { ...offer, planIds: [planId], originalUrl: "/v1/other" };
    expect(await verify(withAccepted(createPaymentRequired(elsewhere), accepted))).toMatchObject({
      isValid: false,
      invalidReason: expect.stringContaining("another resource"),
    });
  });
});
