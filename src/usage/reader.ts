/** Reads usage out of the body of one response, as its bytes go by. */

import { brotliDecompressSync, constants, unzipSync } from "node:zlib";
import type { Usage } from "../redemption.ts";
import { createEventReader } from "./events.ts";
import { createScanner, type Found } from "./scanner.ts";
import { paths, readDocument, type Told, usageOf } from "./shapes.ts";

/** Bytes of a compressed body that are kept, since they can be read at the end only. */
const longestCompressed = 64 * 1024;
/** Bytes that they may become. */
const longestPlain = 16 * 1024 * 1024;

/** What was seen of a response in which no usage was found. */
export interface Seen {
  /** Of the body, as it was handed on. */
  readonly bytes: number;
  /** Server-sent events. */
  readonly events: number;
  readonly model: string | undefined;
  /** Why it could not be read; undefined where it could, and there was no usage in it. */
  readonly problem: string | undefined;
}

export interface UsageReader {
  push(bytes: Uint8Array): void;
  /** What was found by now. */
  read(): { usage: Usage | undefined; seen: Seen };
}

/** @param headers what the response says of its body, lower-case, when its first byte goes */
export function createReader(headers: { type: string; encoding: string }): UsageReader {
  let told: Told = {};
  let bytes = 0;
  let problem: string | undefined;
  let last: Found = new Map();
  const scanner = createScanner(paths, (found) => {
    // Every event of a stream names the model: what was told just before need not be read again.
    if (isSame(found, last)) return;
    last = found;
    told = readDocument(told, found);
  });
  const events = createEventReader(scanner);
  let isStream: boolean | undefined = headers.type.includes("text/event-stream") || undefined;
  let isPlain: boolean | undefined;
  let compressed: Uint8Array[] = [];

  function readPlain(chunk: Uint8Array) {
    // Some upstreams forget to say what they send.
    isStream ??= !headers.type.includes("json") && !/^\s*[{[]/.test(latin(chunk));
    if (isStream) events.push(chunk);
    else scanner.push(chunk, 0, chunk.length);
  }

  function decompress() {
    if (compressed.length === 0) return;
    const body = Buffer.concat(compressed);
    compressed = [];
    const whole = { maxOutputLength: longestPlain };
    try {
      switch (headers.encoding) {
        case "gzip":
        case "x-gzip":
        case "deflate":
          // What was cut off is read as far as it came.
          return readPlain(unzipSync(body, { ...whole, finishFlush: constants.Z_SYNC_FLUSH }));
        case "br":
          return readPlain(
            brotliDecompressSync(body, {
              ...whole,
              finishFlush: constants.BROTLI_OPERATION_FLUSH,
            }),
          );
        default:
          problem = `its Content-Encoding is ${headers.encoding}`;
      }
    } catch (error) {
      problem = `it cannot be decompressed: ${error instanceof Error ? error.message : error}`;
    }
  }

  return {
    push(chunk) {
      bytes += chunk.length;
      // A header may speak of what is still to happen: compression that is mounted in front of the meter
      // sets it before it compresses what was heard here.
      isPlain ??= isEncodingPlain(headers.encoding) || isText(chunk);
      if (isPlain) return readPlain(chunk);
      if (bytes <= longestCompressed) {
        compressed.push(Uint8Array.from(chunk));
        return;
      }
      compressed = [];
      problem = `it is compressed, and longer than ${longestCompressed} bytes`;
    },

    read() {
      decompress();
      if (isStream) events.end();
      else scanner.end();
      const seen = { bytes, events: events.count(), model: told.model, problem };
      return { usage: usageOf(told), seen };
    },
  };
}

function isEncodingPlain(encoding: string): boolean {
  return encoding === "" || encoding === "identity";
}

/** Whether it begins as JSON or events do, and is text as far as it is looked at. */
function isText(chunk: Uint8Array): boolean {
  const start = latin(chunk);
  return /^(\xef\xbb\xbf)?\s*([{[]|data|event|id|retry|:)[\t\r\n\x20-\x7e\x80-\xff]*$/.test(start);
}

function isSame(one: Found, other: Found): boolean {
  if (one.size !== other.size) return false;
  for (const [path, text] of one) if (other.get(path) !== text) return false;
  return true;
}

function latin(chunk: Uint8Array): string {
  return Buffer.from(chunk.subarray(0, 64)).toString("latin1");
}
