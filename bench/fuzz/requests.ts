/**
 * Requests of buyers who mean no good, drawn from a seed, for two APIs: one finds the payment in headers,
 * the other in the body.
 */

import { gzipSync } from "node:zlib";
import { createDraw, type Draw } from "./draw.ts";
import { type Drawn, drawJson, drawText, type Field, fields, goodText } from "./values.ts";

export interface HostileRequest {
  /** What it tries, for people. */
  readonly kind: string;
  readonly to: "headers" | "body";
  readonly method: string;
  /** All of it, a character for each byte. */
  readonly bytes: string;
  readonly must: Drawn<string>["must"];
  /** It may end its connection: nothing else is sent on it. */
  readonly isLast: boolean;
  /** The connection may end, or stay silent, instead of an answer. */
  readonly mayLackAnswer: boolean;
  /** The client leaves without waiting for an answer. */
  readonly hangsUp: boolean;
}

/** The next request, each time it is called. The same seed gives the same ones. */
export function createRequests(seed: number): () => HostileRequest {
  const draw = createDraw(seed);
  return () => draw.weighted(kinds)(draw);
}

const names: Record<Field, string> = {
  planId: "Nevermined-Plan-Id",
  holderAddress: "Nevermined-Holder-Address",
  proof: "Nevermined-Proof",
};

type Header = readonly [name: string, value: string];

/** Bytes of the first line and the headers that a Node server takes, if it is not told otherwise. */
const mostHeaderBytes = 16 * 1024;

const kinds: readonly (readonly [number, (draw: Draw) => HostileRequest])[] = [
  [30, headerFields],
  [3, strayBytes],
  [3, repeatedPayment],
  [4, inheritedHeaderNames],
  [3, manyHeaders],
  [1, tooManyHeaderBytes],
  [5, oddTargets],
  [3, brokenHttp],
  [1, paidThenBroken],
  [1, brokenBodyBehindMeter],
  [30, bodyFields],
  [3, bodyShapes],
  [3, bodyCodings],
  [1, hangUp],
];

function headerFields(draw: Draw): HostileRequest {
  const drawn = fields
    .filter(() => !draw.oneIn(20))
    .map((field) => ({ field, ...drawText(draw, field) }));
  const headers = drawn.map(
    ({ field, value }) => [anyCase(draw, names[field]), utf8(value)] as const,
  );
  const must = drawn.length < fields.length ? "be-refused" : together(drawn);
  return withoutBody("header fields", { headers, must });
}

/** Bytes that are no ASCII, and perhaps no UTF-8, where text is expected. */
function strayBytes(draw: Draw): HostileRequest {
  const field = draw.pick(fields);
  const bytes = draw.characters(1 + draw.below(60), 0x80, 0xff);
  const good = goodText(draw, field);
  const at = draw.below(good.length);
  const value = good.slice(0, at) + bytes + good.slice(at);
  // A proof is opaque; these bytes are some Latin text.
  const must = field === "proof" ? "pay" : "be-refused";
  return withoutBody("stray bytes", {
    headers: [...payment(draw, field), [names[field], value]],
    must,
  });
}

function repeatedPayment(draw: Draw): HostileRequest {
  const field = draw.pick(fields);
  const again = Array.from(
    { length: 1 + draw.below(20) },
    () => [anyCase(draw, names[field]), goodText(draw, field)] as const,
  );
  return withoutBody("repeated payment", {
    headers: shuffled(draw, [...payment(draw), ...again]),
    must: "be-refused",
  });
}

/** Must change nothing: whoever looks headers up in a plain object finds other things there. */
function inheritedHeaderNames(draw: Draw): HostileRequest {
  const inherited = ["__proto__", "constructor", "toString", "valueOf", "hasOwnProperty", "length"];
  const more = Array.from(
    { length: 1 + draw.below(4) },
    () => [draw.pick(inherited), draw.pick(["", "x", "null"])] as const,
  );
  return withoutBody("inherited header names", {
    headers: shuffled(draw, [...payment(draw), ...more]),
    must: "pay",
  });
}

/** Past 2,000 headers Node drops the rest. */
function manyHeaders(draw: Draw): HostileRequest {
  const room = mostHeaderBytes - 1_000;
  const size = draw.pick([1, 1, 8, 100, 2_000]);
  const count = Math.min(draw.pick([100, 1_000, 1_998, 3_500]), Math.floor(room / (size + 5)));
  const isSame = draw.oneIn(2);
  const more = Array.from(
    { length: count },
    (_, at) => [isSame ? "x" : (at % 36).toString(36), "y".repeat(size)] as const,
  );
  const isFirst = draw.oneIn(2);
  const headers = isFirst ? [...payment(draw), ...more] : [...more, ...payment(draw)];
  return withoutBody("many headers", { headers, must: isFirst ? "pay" : "either" });
}

function tooManyHeaderBytes(draw: Draw): HostileRequest {
  // Node counts names and values without what is between them.
  const size = mostHeaderBytes + 2_000 + draw.below(40_000);
  const more: Header[] = draw.oneIn(2)
    ? [[draw.pick(["X", names.proof]), "z".repeat(size)]]
    : Array.from({ length: size / 100 }, (_, at) => [`x-${at}`, "z".repeat(95)] as const);
  const headers = draw.oneIn(2) ? [...payment(draw), ...more] : [...more, ...payment(draw)];
  return withoutBody("too many header bytes", { headers, must: "be-refused" });
}

function oddTargets(draw: Draw): HostileRequest {
  const method = draw.pick(["POST", "POST", "GET", "HEAD", "PUT", "OPTIONS", "PATCH", "DELETE"]);
  const target = draw.pick([
    ...["/", "//", "//paid", "/PAID", "/paid/", "/paid//", "/./paid", "/x/../paid", "/%70aid"],
    ...["/paid?a=%ff&__proto__=1", "/paid%00", "/paid%", "/paid;a", "/paid\\", "*", "/*"],
    ...["/items/%", "/items/%E0%A4%A", "/items/__proto__", "/items/constructor", "/items/a%2fb"],
    ...["/items/%00", "/items/", "/items", "/__proto__", "/constructor", "/computed?price=1e21"],
    ...["http://test/paid", "http://test:99999/paid", "http:///paid", "?", "#", "//test/paid"],
    ...["/redemptions/__proto__", "/redemptions/%", "/redemptions/a?wait=1e999", "/redemptions"],
    "/redemptions/0c2bcb03-00b6-409b-af0b-b186670f0502?wait=5&wait=__proto__",
    `/${"a/".repeat(3_000)}`,
    `/items/${"%41".repeat(2_000)}`,
    `/paid?${"a&".repeat(4_000)}`,
  ]);
  return {
    ...withoutBody("odd targets", { method, target, headers: payment(draw), must: "either" }),
    // Node's parser refuses some of these.
    isLast: !target.startsWith("/"),
  };
}

/** What Node's own parser must refuse, or make sense of. */
function brokenHttp(draw: Draw): HostileRequest {
  const paid = payment(draw).map(([name, value]) => `${name}: ${value}\r\n`);
  const head = (line: string, more: string) =>
    `${line}\r\nHost: test\r\n${paid.join("")}${more}\r\n`;
  const post = (more: string) => head("POST /paid HTTP/1.1", more);
  const control = draw.pick(["\0", "\x01", "\x0b", "\x1f", "\x7f", "\n", "\r"]);
  const bytes = draw.pick([
    post(`X: a${control}b\r\n`),
    post(`X${control}: a\r\n`),
    post(`${names.proof} : a\r\n`),
    post(` folded\r\n`),
    post(": no name\r\n"),
    post("no colon\r\n"),
    post("X\u00fc: a\r\n"),
    `${post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")}0\r\n\r\n`,
    `${post("Content-Length: 1\r\nContent-Length: 2\r\n")}a`,
    post("Content-Length: -1\r\n"),
    post("Content-Length: 1e3\r\n"),
    post("Content-Length: 99999999999999999999\r\n"),
    `${post("Transfer-Encoding: chunked\r\n")}zz\r\n`,
    `${post("Transfer-Encoding: chunked\r\n")}ffffffffffffffff0\r\n`,
    post("Transfer-Encoding: identity\r\n"),
    post("Expect: 200-maybe\r\n"),
    post("Upgrade: nothing\r\nConnection: Upgrade\r\n"),
    post("Connection: close\r\n"),
    head("POST /paid HTTP/1.0", ""),
    head("POST /paid HTTP/0.9", ""),
    head("POST /paid HTTP/9.9", ""),
    head("POST  /paid HTTP/1.1", ""),
    head("post /paid HTTP/1.1", ""),
    head("__proto__ /paid HTTP/1.1", ""),
    head("CONNECT test:80 HTTP/1.1", ""),
    head("PRI * HTTP/2.0", "SM\r\n"),
    `POST /paid HTTP/1.1\r\n${paid.join("")}\r\n`,
    `POST /paid HTTP/1.1\r\nHost: a\r\nHost: b\r\n${paid.join("")}\r\n`,
    `\x16\x03\x01${draw.characters(60, 0, 255)}\r\n\r\n`,
    `${draw.characters(200, 0, 255)}\r\n\r\n`,
  ]);
  return {
    ...request("broken HTTP", "headers", "POST", bytes, "either"),
    isLast: true,
    // Some look to Node like the beginning of something; the client waits for a moment only.
    mayLackAnswer: true,
  };
}

/**
 * Node destroys the connection for what comes second, when the answer to what came first may be on its
 * way. Whoever has that answer pays for it.
 */
function paidThenBroken(draw: Draw): HostileRequest {
  const { bytes, ...rest } = withoutBody("paid, then broken", {
    headers: payment(draw),
    must: "either",
  });
  const second = draw.pick(["X X X\r\n\r\n", `GET / HTTP/1.1\r\nX: ${"y".repeat(20_000)}\r\n\r\n`]);
  return { ...rest, bytes: bytes + second, isLast: true };
}

/** The meter has let it in when the body turns out to be none. */
function brokenBodyBehindMeter(draw: Draw): HostileRequest {
  const body = draw.pick(["{", '{"a":', "\0", "[1,]", `"${draw.characters(20, 0x80, 0xff)}`]);
  return withBody("broken body behind the meter", "headers", {
    headers: [...payment(draw), ["Content-Type", "application/json"]],
    body,
    must: "be-refused",
  });
}

function bodyFields(draw: Draw): HostileRequest {
  const drawn = fields
    .filter(() => !draw.oneIn(20))
    .map((field) => ({ field, ...drawJson(draw, field) }));
  const must = drawn.length < fields.length ? "be-refused" : together(drawn);
  return json("body fields", objectOf(drawn), must);
}

const manyMembers = Array.from({ length: 8_000 }, (_, at) => `"${at}":0,`).join("");

function bodyShapes(draw: Draw): HostileRequest {
  const good = fields.map((field) => ({ field, value: JSON.stringify(goodText(draw, field)) }));
  const paid = objectOf(good);
  const refused: Drawn<string>["must"] = "be-refused";
  const [text, must] = draw.pick([
    ["", refused],
    ["null", refused],
    ["[]", refused],
    ["{}", refused],
    ["1e21", refused],
    [JSON.stringify(paid), refused],
    [`[${paid}]`, refused],
    [`[${good.map(({ value }) => value).join(",")}]`, refused],
    [`{"__proto__":${paid}}`, refused],
    [`{"constructor":{"prototype":${paid}}}`, refused],
    [`{"length":3,"toString":null,"__proto__":null,${paid.slice(1)}`, "pay"],
    // The last of two counts, in all of JavaScript.
    [`{"planId":{},"holderAddress":[],"proof":1e21,${paid.slice(1)}`, "pay"],
    [`${paid.slice(0, -1)},"proof":{}}`, refused],
    [`${paid.slice(0, -1)},"more":${"[".repeat(10_000)}${"]".repeat(10_000)}}`, "pay"],
    [`${"[".repeat(20_000)}${"]".repeat(20_000)}`, refused],
    [`${"[".repeat(50_000)}`, refused],
    [`${'{"a":'.repeat(10_000)}1${"}".repeat(10_000)}`, refused],
    [`${paid.slice(0, -1)},"more":"${"x".repeat(90_000)}"}`, "pay"],
    [`${paid.slice(0, -1)},"more":"${"x".repeat(110_000)}"}`, refused],
    [`{${manyMembers}${paid.slice(1)}`, "pay"],
    [`\ufeff${paid}`, "either"],
    [`${paid}${paid}`, refused],
    [`${paid}\0`, refused],
  ] as const);
  return json("body shapes", text, must);
}

const bomb = gzipSync(Buffer.alloc(20_000_000, " ")).toString("latin1");

/** What the body parser must see through. */
function bodyCodings(draw: Draw): HostileRequest {
  const paid = objectOf(
    fields.map((field) => ({ field, value: JSON.stringify(goodText(draw, field)) })),
  );
  const type = (value: string): Header => ["Content-Type", value];
  const coding = (value: string): Header => ["Content-Encoding", value];
  const isJson = type("application/json");
  const [headers, body, must] = draw.pick<readonly [Header[], string, HostileRequest["must"]]>([
    [[isJson, coding("gzip")], draw.characters(80, 0, 255), "be-refused"],
    [[isJson, coding("gzip")], bomb, "be-refused"],
    [[isJson, coding("gzip")], gzipSync(paid).toString("latin1"), "pay"],
    [[isJson, coding("gzip")], gzipSync(paid).subarray(0, -9).toString("latin1"), "be-refused"],
    [[isJson, coding("br")], draw.characters(80, 0, 255), "be-refused"],
    [[isJson, coding("__proto__")], paid, "be-refused"],
    [[type("application/json; charset=utf-7")], paid, "either"],
    [[type("application/json; charset=__proto__")], paid, "be-refused"],
    [[type("text/plain")], paid, "be-refused"],
    [[type("application/x-www-form-urlencoded")], "planId[]=1&__proto__[proof]=2", "be-refused"],
    [[type("multipart/form-data; boundary=a")], "--a\r\n\r\n--a--", "be-refused"],
    [[type("a/b/c;;=")], paid, "be-refused"],
    [[], paid, "be-refused"],
    [[isJson, isJson], paid, "either"],
    // No UTF-8: the proof holds what decoding makes of it.
    [[isJson], paid.replace(/0x(?=[0-9a-f]{40}"})/, draw.characters(4, 0x80, 0xff)), "either"],
  ]);
  // Node goes on reading what the parser gave up.
  return { ...withBody("body codings", "body", { headers, body, must }), isLast: body === bomb };
}

/** The client is gone before its request is whole. */
function hangUp(draw: Draw): HostileRequest {
  const to = draw.pick(["headers", "body"] as const);
  const { bytes, ...rest } = withBody("hang-up", to, {
    headers: [...payment(draw), ["Content-Type", "application/json"]],
    body: JSON.stringify({ a: "x".repeat(draw.below(200)) }),
    must: "either",
  });
  const most = draw.oneIn(2) ? bytes.length - 1 : bytes.indexOf("\r\n\r\n") + 4;
  const sent = bytes.slice(0, draw.oneIn(2) ? most : draw.below(most));
  return { ...rest, bytes: sent, isLast: true, mayLackAnswer: true, hangsUp: true };
}

/** The headers of a payment that is good, but for the fields that are left out. */
function payment(draw: Draw, ...without: Field[]): Header[] {
  return fields
    .filter((field) => !without.includes(field))
    .map((field) => [names[field], goodText(draw, field)]);
}

function together(drawn: readonly Pick<Drawn<string>, "must">[]): Drawn<string>["must"] {
  const has = (must: Drawn<string>["must"]) => drawn.some((one) => one.must === must);
  if (has("be-refused")) return "be-refused";
  return has("either") ? "either" : "pay";
}

function objectOf(drawn: readonly { field: Field; value: string }[]): string {
  return `{${drawn.map(({ field, value }) => `"${field}":${value}`).join(",")}}`;
}

interface Parts {
  readonly method?: string;
  readonly target?: string;
  readonly headers: readonly Header[];
  readonly body?: string;
  readonly must: HostileRequest["must"];
}

function withoutBody(kind: string, parts: Parts): HostileRequest {
  return build(kind, "headers", parts);
}

function withBody(kind: string, to: HostileRequest["to"], parts: Parts & { body: string }) {
  const headers: Header[] = [...parts.headers, ["Content-Length", String(parts.body.length)]];
  return build(kind, to, { ...parts, headers });
}

function json(kind: string, text: string, must: HostileRequest["must"]): HostileRequest {
  const headers: Header[] = [["Content-Type", "application/json"]];
  return withBody(kind, "body", { headers, body: utf8(text), must });
}

function build(
  kind: string,
  to: HostileRequest["to"],
  { method = "POST", target = "/paid", headers, body = "", must }: Parts,
): HostileRequest {
  const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  const head = `${method} ${target} HTTP/1.1\r\nHost: test\r\n${lines}\r\n`;
  const isTooLong = head.length > mostHeaderBytes - 300;
  return {
    ...request(kind, to, method, head + body, must),
    // Express's parser takes 100 KiB and says so of more; whoever still writes may not hear it.
    isLast: isTooLong || body.length > 100_000,
    mayLackAnswer: isTooLong,
  };
}

function request(
  kind: string,
  to: HostileRequest["to"],
  method: string,
  bytes: string,
  must: HostileRequest["must"],
): HostileRequest {
  return { kind, to, method, bytes, must, isLast: false, mayLackAnswer: false, hangsUp: false };
}

function anyCase(draw: Draw, name: string): string {
  return draw.weighted([
    [2, name],
    [1, name.toLowerCase()],
    [1, name.toUpperCase()],
  ]);
}

function shuffled<Value>(draw: Draw, values: readonly Value[]): Value[] {
  return values
    .map((value) => ({ value, at: draw.below(1_000_000) }))
    .sort((one, other) => one.at - other.at)
    .map(({ value }) => value);
}

/** The bytes of a text, a character for each. */
function utf8(text: string): string {
  return Buffer.from(text).toString("latin1");
}
