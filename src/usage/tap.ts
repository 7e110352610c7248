/**
 * Listens to what a handler writes. Nothing of it is changed: not a byte, a header, the size of a chunk, a
 * return value or a callback.
 */

import type { ServerResponse } from "node:http";
import { createReader, type UsageReader } from "./reader.ts";

const taps = new WeakMap<object, { reader: UsageReader | undefined }>();

type Write = (chunk?: unknown, encoding?: unknown, callback?: unknown) => unknown;

/** From now on what is written is read; once is enough. */
export function tap(res: ServerResponse): void {
  if (taps.has(res)) return;
  const heard: { reader: UsageReader | undefined } = { reader: undefined };
  taps.set(res, heard);
  const hear = (chunk: unknown, encoding: unknown) => {
    const bytes = bytesOf(chunk, encoding);
    if (!bytes || bytes.length === 0) return;
    heard.reader ??= createReader({
      type: headerOf(res, "content-type"),
      encoding: headerOf(res, "content-encoding"),
    });
    heard.reader.push(bytes);
  };
  for (const method of ["write", "end"] as const) {
    const original = res[method] as Write;
    const listening: Write = function (this: ServerResponse, ...args) {
      // A price must never be in the way of an answer.
      try {
        hear(args[0], args[1]);
      } catch {
        heard.reader = undefined;
      }
      return Reflect.apply(original, this, args);
    };
    res[method] = listening as never;
  }
}

/** What was heard of a response; undefined where it is not listened to, or nothing was written. */
export function heardOf(res: ServerResponse): UsageReader | undefined {
  return taps.get(res)?.reader;
}

function headerOf(res: ServerResponse, name: string): string {
  const value = res.getHeader(name) ?? rawHeaderOf(res, name);
  return String(value ?? "")
    .trim()
    .toLowerCase();
}

/** Headers that were given to `writeHead` as a list are not kept by Node, but in the head that goes out. */
function rawHeaderOf(res: ServerResponse, name: string): string | undefined {
  const head = (res as unknown as { _header?: string | null })._header;
  if (typeof head !== "string") return undefined;
  return new RegExp(`^${name}: *(.*)$`, "im").exec(head)?.[1];
}

function bytesOf(chunk: unknown, encoding: unknown): Uint8Array | undefined {
  if (typeof chunk === "string") {
    return Buffer.from(chunk, typeof encoding === "string" ? (encoding as BufferEncoding) : "utf8");
  }
  return chunk instanceof Uint8Array ? chunk : undefined;
}
