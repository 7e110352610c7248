/**
 * Finds a few members in JSON that comes in pieces, without keeping the rest: an answer may be
 * megabytes long, and its usage is at the end. It is lenient: what is no JSON is passed over until the
 * next document.
 */

/** What was found in one document: texts of JSON values by the path of their member. */
export type Found = Map<string, string>;

/** Bytes of one value that is kept, at the most. */
const longestValue = 16 * 1024;
/** Bytes of a member's name that can be of interest. */
const longestName = 32;

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const colon = 0x3a;
const openObject = 0x7b;
const closeObject = 0x7d;
const openArray = 0x5b;
const closeArray = 0x5d;

export interface Scanner {
  /** Takes bytes from `from` to `to`. */
  push(bytes: Uint8Array, from: number, to: number): void;
  /** A document is over, whatever came of it. */
  end(): void;
}

/**
 * @param paths of the members to find, such as `usage` or `response.usage`. Elements of an array at the
 * top are documents of their own
 * @param onDocument called with what was found, at the end of each
 */
export function createScanner(
  paths: ReadonlySet<string>,
  onDocument: (found: Found) => void,
): Scanner {
  /** Members whose values are objects that hold something to find. */
  const holders = new Set([...paths].flatMap((path) => path.split(".").slice(0, -1).slice(0, 1)));
  let found: Found = new Map();
  /** Open brackets, the innermost last; those further in than is of interest are counted only. */
  let brackets: number[] = [];
  let deeper = 0;
  /** Set for elements of an array at the top. */
  let base = 0;
  /** The holder that is open, at the second level. */
  let holder: string | undefined;
  let inString = false;
  let isEscaped = false;
  /** The text of a name that is being read. */
  let name: string | undefined;
  let nameIsOver = false;
  let mayBeName = false;
  /** A value that is kept. */
  let path: string | undefined;
  let value: Buffer[] = [];
  let valueBytes = 0;

  const level = () => brackets.length - base;

  function push(bytes: Uint8Array, from: number, to: number) {
    /** Where the part of a kept value begins that is in these bytes. */
    let start = from;
    const keep = (until: number) => {
      if (path === undefined || until <= start) return;
      valueBytes += until - start;
      if (valueBytes <= longestValue) value.push(Buffer.from(bytes.subarray(start, until)));
    };
    const finish = (until: number) => {
      if (path === undefined) return;
      keep(until);
      if (valueBytes <= longestValue) {
        found.set(path, Buffer.concat(value).toString("utf8").trim());
      }
      path = undefined;
      value = [];
      valueBytes = 0;
    };
    for (let at = from; at < to; at += 1) {
      const byte = bytes[at] as number;
      if (inString) {
        if (isEscaped) isEscaped = false;
        else if (byte === backslash) isEscaped = true;
        else if (byte === quote) {
          inString = false;
          nameIsOver = name !== undefined;
          continue;
        }
        if (name !== undefined) {
          name = name.length < longestName ? name + String.fromCharCode(byte) : undefined;
        } else if (!isEscaped) {
          // Almost all bytes are here: text that a model wrote.
          at = endOfText(bytes, at + 1, to) - 1;
        }
        continue;
      }
      switch (byte) {
        case quote:
          inString = true;
          if (mayBeName) {
            name = "";
            nameIsOver = false;
            mayBeName = false;
          }
          break;
        case colon:
          if (name === undefined || !nameIsOver || path !== undefined) break;
          if (level() === 1 && paths.has(name)) {
            path = name;
            start = at + 1;
          } else if (level() === 1) {
            holder = holders.has(name) ? name : undefined;
          } else if (level() === 2 && holder !== undefined && paths.has(`${holder}.${name}`)) {
            path = `${holder}.${name}`;
            start = at + 1;
          }
          name = undefined;
          break;
        case openObject:
        case openArray:
          if (deeper > 0 || level() >= 2 || (level() === 1 && holder === undefined)) {
            deeper += 1;
            break;
          }
          if (brackets.length === 0 && byte === openArray) {
            base = 1;
            brackets = [byte];
            break;
          }
          brackets.push(byte);
          mayBeName = byte === openObject;
          break;
        case closeObject:
        case closeArray:
          if (deeper > 0) {
            deeper -= 1;
            break;
          }
          finish(at);
          if (brackets.length === 0) break;
          brackets.pop();
          mayBeName = false;
          name = undefined;
          if (level() === 1) holder = undefined;
          if (level() === 0) document();
          break;
        case comma:
          if (deeper > 0) break;
          finish(at);
          mayBeName = brackets.at(-1) === openObject;
          if (level() === 1) holder = undefined;
          break;
        default:
          break;
      }
    }
    keep(to);
  }

  function document() {
    if (found.size === 0) return;
    const over = found;
    found = new Map();
    onDocument(over);
  }

  return {
    push,
    end() {
      document();
      brackets = [];
      deeper = 0;
      base = 0;
      holder = undefined;
      inString = false;
      isEscaped = false;
      name = undefined;
      mayBeName = false;
      path = undefined;
      value = [];
      valueBytes = 0;
    },
  };
}

/** Where the next quote or backslash is. */
function endOfText(bytes: Uint8Array, from: number, to: number): number {
  let at = from;
  while (at < to && bytes[at] !== quote && bytes[at] !== backslash) at += 1;
  return at;
}
