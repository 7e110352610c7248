/**
 * JSON from a stranger, read so that everyone who reads it later reads the same. `JSON.parse` alone keeps
 * the last of two equal names where others keep the first, and rounds numbers that are too large.
 */

/** Either what was read, or what is wrong with it: half a sentence, without a word of the text itself. */
export type JsonReading =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly wrong: string };

const deepest = 16;

/** Strings whole, brackets, and what stands between: enough for a text that is known to be JSON. */
const parts = /"(?:[^"\\]|\\.)*"|[{}[\]:,]|[^\s"{}[\]:,]+/g;

/** Reads bytes as UTF-8 and JSON. */
export function readStrictJson(bytes: Uint8Array): JsonReading {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return { ok: false, wrong: "it is no UTF-8" };
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { ok: false, wrong: "it is no JSON" };
  }
  const wrong = ambiguity(text);
  return wrong === undefined ? { ok: true, value } : { ok: false, wrong };
}

/** @param text valid JSON */
function ambiguity(text: string): string | undefined {
  /** The names in every object that is open; undefined for a list. */
  const open: (Set<string> | undefined)[] = [];
  let last = "";
  for (const [part] of text.matchAll(parts)) {
    if (part === "{" || part === "[") {
      open.push(part === "{" ? new Set() : undefined);
      if (open.length > deepest) return `it is nested more than ${deepest} deep`;
    } else if (part === "}" || part === "]") {
      open.pop();
    } else if (part === ":") {
      const name: string = JSON.parse(last);
      // Copying an object by its names would set its prototype.
      if (name === "__proto__") return "it has a field named __proto__";
      const names = open.at(-1);
      if (names?.has(name)) return "it has two fields of the same name in one object";
      names?.add(name);
    } else if (/^[-\d]/.test(part) && !isExact(Number(part))) {
      return "it has a number that is too large to be exact";
    }
    last = part;
  }
  return undefined;
}

function isExact(value: number): boolean {
  return Math.abs(value) <= Number.MAX_SAFE_INTEGER;
}
