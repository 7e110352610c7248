/**
 * Values for the three fields of a payment, good and hostile. What pays is drawn as often as what must
 * not, so that nothing passes by refusing everything.
 */

import type { Draw } from "./draw.ts";

/** A value, and what must become of a request whose other fields are good. */
export interface Drawn<Value> {
  readonly value: Value;
  readonly must: "pay" | "be-refused" | "either";
}

export type Field = "planId" | "holderAddress" | "proof";
export const fields: readonly Field[] = ["planId", "holderAddress", "proof"];

/** Names that every object answers to. Those that are sold are plans like any other. */
const inheritedNames = ["valueOf", "hasOwnProperty", "__defineGetter__", "isPrototypeOf"];

export const plans = [
  "105906633592154016712415751065229075315413571",
  "__proto__",
  "constructor",
  "toString",
] as const;

/** Holders with credits on all the plans. */
export const holders = Array.from({ length: 8 }, (_, at) => `0x${String(at).repeat(39)}a`);
/** Holders without: so many, and no more, since a meter remembers up to 100,000 by design. */
const poorHolders = Array.from({ length: 64 }, (_, at) => `0x${at.toString(16).padStart(40, "b")}`);

const [plan, address] = [plans[0], holders[0] ?? ""];

const wrongPlans = [
  ...inheritedNames,
  "",
  " ",
  `${plan} `.repeat(2),
  `${plan}1`,
  plan.slice(1),
  "1e21",
  "NaN",
  "-0",
  "0x0",
  "..",
  "../../admin",
  "%2e%2e%2f",
  "a/b?c=d#e",
  "did:nv:1,did:nv:2",
  // Look-alikes: full-width digits, Arabic digits, a Cyrillic o, and what cannot be seen.
  plan.replace(/\d/g, (digit) => String.fromCharCode(0xff10 + Number(digit))),
  plan.replace(/\d/g, (digit) => String.fromCharCode(0x660 + Number(digit))),
  "c\u043enstructor",
  `${plan}\u200b`,
  `\ufeff${plan}`,
  `${plan}\u00a0`,
  "x".repeat(8 * 1024),
  "x".repeat(8 * 1024 + 1),
  "é".repeat(5 * 1024),
];

const wrongHolders = [
  ...inheritedNames,
  ...plans,
  "",
  "0x",
  address.slice(0, -1),
  `${address}0`,
  address.slice(2),
  address.replace("0x", "0X"),
  address.replace("x", "\u0445"),
  address.replace("0x", "\uff10x"),
  `0x${"\uff11".repeat(40)}`,
  `0x${"\u00b2".repeat(40)}`,
  `0x${"g".repeat(40)}`,
  `${address}, ${address}`,
  "vitalik.eth",
  "1e48",
  "0".repeat(8 * 1024),
];

const wrongProofs = [
  "",
  " ",
  "{",
  "[1,",
  '{"a":1}}',
  "{'a':1}",
  "[NaN]",
  '{"a":undefined}',
  "[01]",
];

const usedProofs = ["0xABCD", "0xabcd", "{}", "[ ]", "__proto__"];

/** Text for a field. Proofs are new each time, for an API that takes each of them once. */
export function drawText(draw: Draw, field: Field): Drawn<string> {
  if (field === "proof") return drawProof(draw);
  if (field === "planId") {
    if (draw.oneIn(2)) return { value: draw.pick(plans), must: "pay" };
    return { value: draw.pick(wrongPlans), must: "be-refused" };
  }
  return draw.weighted<() => Drawn<string>>([
    [4, () => ({ value: anyCase(draw, draw.pick(holders)), must: "pay" })],
    [2, () => ({ value: draw.pick(poorHolders), must: "be-refused" })],
    [2, () => ({ value: draw.pick(wrongHolders), must: "be-refused" })],
  ])();
}

/** Text that pays. */
export function goodText(draw: Draw, field: Field): string {
  if (field === "planId") return draw.pick(plans);
  if (field === "holderAddress") return anyCase(draw, draw.pick(holders));
  return `0x${draw.hex(40)}`;
}

function anyCase(draw: Draw, text: string): string {
  return draw.oneIn(2) ? text : `0x${text.slice(2).toUpperCase()}`;
}

function drawProof(draw: Draw): Drawn<string> {
  const unique = draw.hex(24);
  const good = (value: string): Drawn<string> => ({ value, must: "pay" });
  const bad = (value: string): Drawn<string> => ({ value, must: "be-refused" });
  return draw.weighted<() => Drawn<string>>([
    [4, () => good(`0x${unique}`)],
    [1, () => good(JSON.stringify({ tx: unique, nonce: 1 }))],
    [1, () => good(`{"__proto__":{"a":1},"constructor":"${unique}","a":1e400,"a":-0}`)],
    [1, () => good(`"\\ud83e ${unique}`)],
    [1, () => good(nested("[", `"${unique}"`, "]", 1_000 + draw.below(3_000)))],
    [1, () => good(nested('{"a":', `"${unique}"`, "}", 1_000))],
    // The same each time: where a proof pays once, it has been used.
    [1, () => ({ value: draw.pick(usedProofs), must: "either" })],
    [1, () => bad(nested("[", "1", "]", 5_000))],
    [1, () => bad(nested("[", "1", "", 4_000 + draw.below(1_000)))],
    [1, () => bad("p".repeat(8 * 1024 + 1 + draw.below(2_000)))],
    [2, () => bad(draw.pick(wrongProofs))],
  ])();
}

function nested(open: string, inner: string, close: string, depth: number): string {
  return open.repeat(depth) + inner + close.repeat(depth);
}

/** JSON that is no text, or none that may be a field, made of text that may. */
const wrongJson: readonly ((good: string) => string)[] = [
  ...["null", "true", "0", "1e21", "-0", "1e400", "{}", "[]", '[["a"]]'].map((json) => () => json),
  () => plan,
  () => '{"toString":"a"}',
  () => '{"__proto__":{"trim":1},"length":3}',
  (good) => JSON.stringify([good]),
  (good) => JSON.stringify({ value: good, toString: good, valueOf: good, length: good.length }),
  (good) => nested("[", JSON.stringify(good), "]", 10_000),
  () => nested('{"a":', "1", "}", 10_000),
  // Half a character at either end, none at all, and one that some would cut off.
  (good) => `"\\ud83e${good}"`,
  (good) => `"${good}\\udd80"`,
  (good) => `"${good}\\u0000"`,
  () => '"\\u0000"',
  () => JSON.stringify("x".repeat(60_000)),
];

/** JSON for a field, where the payment is found in a body. */
export function drawJson(draw: Draw, field: Field): Drawn<string> {
  const kind = draw.below(4);
  if (kind === 0) {
    return { value: draw.pick(wrongJson)(goodText(draw, field)), must: "be-refused" };
  }
  if (kind === 1) return { value: JSON.stringify(goodText(draw, field)), must: "pay" };
  const { value, must } = drawText(draw, field);
  return { value: JSON.stringify(value), must };
}
