/**
 * Takes server-sent events apart as they come (https://html.spec.whatwg.org/multipage/server-sent-events.html,
 * "Parsing an event stream"): lines end with LF, CR or CRLF, an empty line ends an event. Nothing is
 * kept: the data goes on as it comes.
 */

import type { Scanner } from "./scanner.ts";

const lf = 0x0a;
const cr = 0x0d;
const colon = 0x3a;
const space = 0x20;
const newline = Uint8Array.of(lf);
const data = "data";
const markedData = `\u00ef\u00bb\u00bf${data}`;

export interface EventReader {
  push(bytes: Uint8Array): void;
  end(): void;
  /** Events that had data. */
  count(): number;
}

export function createEventReader(scanner: Scanner): EventReader {
  /** The name of the field, while it is read; undefined behind the colon. */
  let field: string | undefined = "";
  let isData = false;
  let skipSpace = false;
  let skipLineFeed = false;
  let isEmptyLine = true;
  let hasData = false;
  let events = 0;

  function endLine() {
    if (isEmptyLine) endEvent();
    else if (isData) scanner.push(newline, 0, 1);
    field = "";
    isData = false;
    skipSpace = false;
    isEmptyLine = true;
  }

  function endEvent() {
    if (hasData) events += 1;
    hasData = false;
    scanner.end();
  }

  return {
    push(bytes) {
      for (let at = 0; at < bytes.length; at += 1) {
        const byte = bytes[at] as number;
        if (skipLineFeed) {
          skipLineFeed = false;
          if (byte === lf) continue;
        }
        if (byte === lf || byte === cr) {
          skipLineFeed = byte === cr;
          endLine();
          continue;
        }
        isEmptyLine = false;
        if (field !== undefined) {
          if (byte !== colon) {
            // The name of a longer field is of no interest.
            if (field.length <= data.length + 3) field += String.fromCharCode(byte);
            continue;
          }
          // A byte order mark may stand before the first line.
          isData = field === data || field === markedData;
          hasData ||= isData;
          field = undefined;
          skipSpace = true;
          continue;
        }
        if (skipSpace) {
          skipSpace = false;
          if (byte === space) continue;
        }
        // Almost all bytes are here: the rest of the line, or what has come of it.
        const from = at;
        at = endOfLine(bytes, at);
        if (isData) scanner.push(bytes, from, at);
        at -= 1;
      }
    },
    end() {
      // What a cut left unfinished may still hold what is looked for.
      endEvent();
    },
    count: () => events,
  };
}

function endOfLine(bytes: Uint8Array, from: number): number {
  let at = from;
  while (at < bytes.length && bytes[at] !== lf && bytes[at] !== cr) at += 1;
  return at;
}
