import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createReader } from "../../src/usage/reader.ts";
import { bodies } from "./bodies.ts";

function read(chunks: readonly Uint8Array[], type: string, encoding = "") {
  const reader = createReader({ type, encoding });
  for (const chunk of chunks) reader.push(chunk);
  return reader.read();
}

function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const places = [0, ...at.map((place) => place % (bytes.length + 1)), bytes.length];
  places.sort((a, b) => a - b);
  return places.slice(1).map((end, index) => bytes.subarray(places[index], end));
}

const spellings: readonly (readonly [string, (body: string) => string])[] = [
  ["as it is", (body) => body],
  ["with CRLF", (body) => body.replaceAll("\n", "\r\n")],
  ["with CR", (body) => body.replaceAll("\n", "\r")],
  ["with a byte order mark", (body) => `\ufeff${body}`],
  ["with comments", (body) => body.replaceAll(/^data/gm, ": keep-alive\ndata")],
  ["without spaces", (body) => body.replaceAll(/^data: /gm, "data:")],
];

describe.each(bodies)("$name", ({ type, body, usage }) => {
  test("is read, whole", () => {
    expect(read([Buffer.from(body)], type).usage).toEqual(usage);
  });

  test("is read, byte by byte", () => {
    const bytes = [...Buffer.from(body)].map((byte) => Uint8Array.of(byte));
    expect(read(bytes, type).usage).toEqual(usage);
  });

  test("is read the same for every cut and every end of line", () => {
    const isStream = type === "text/event-stream";
    fc.assert(
      fc.property(
        fc.array(fc.nat(), { maxLength: 12 }),
        fc.constantFrom(...(isStream ? spellings : spellings.slice(0, 1))),
        (places, [, spell]) => {
          const bytes = Buffer.from(spell(body));
          expect(read(cut(bytes, places), type).usage).toEqual(usage);
        },
      ),
      { numRuns: 200 },
    );
  });

  test.each([
    ["gzip", gzipSync],
    ["deflate", deflateSync],
    ["br", brotliCompressSync],
  ] as const)("is read, compressed: %s", (encoding, compress) => {
    expect(read(cut(compress(body), [3, 50]), type, encoding).usage).toEqual(usage);
  });

  test("is told apart without a content type, too", () => {
    if (type !== "text/html") expect(read([Buffer.from(body)], "").usage).toEqual(usage);
  });
});

test("whatever comes is passed over, and what follows in the next event is read", () => {
  const next = 'data: {"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n';
  fc.assert(
    fc.property(
      fc.oneof(fc.string(), fc.json(), fc.string({ unit: fc.constantFrom(...'{}[]",:\\ a1') })),
      (junk) => {
        const line = `data: ${junk.replaceAll(/[\r\n]/g, " ")}\n\n`;
        const { usage } = read([Buffer.from(line + next)], "text/event-stream");
        expect(usage).toMatchObject({ inputTokens: 3, outputTokens: 4 });
      },
    ),
    { numRuns: 1_000 },
  );
});

test("a large answer is read without being kept", () => {
  const part = Buffer.from(`"${"x".repeat(1_000_000)}",`);
  const reader = createReader({ type: "application/json", encoding: "" });
  reader.push(Buffer.from('{"choices":['));
  for (let index = 0; index < 50; index += 1) reader.push(part);
  reader.push(Buffer.from('0],"usage":{"prompt_tokens":3,"completion_tokens":4}}'));
  expect(reader.read().usage).toEqual({ inputTokens: 3, outputTokens: 4 });
});

test("a value that is too long is not kept", () => {
  const usage = { prompt_tokens: 3, completion_tokens: 4, more: "x".repeat(70_000) };
  const { usage: found } = read([Buffer.from(JSON.stringify({ usage }))], "application/json");
  expect(found).toBeUndefined();
});

describe("what cannot be read says so", () => {
  test.each([
    ["zstd", Buffer.from("anything"), "its Content-Encoding is zstd"],
    ["gzip", Buffer.from("anything"), "cannot be decompressed"],
    ["gzip", Buffer.alloc(70_000), "longer than 65536 bytes"],
    ["gzip", gzipSync(Buffer.alloc(20_000_000)), "cannot be decompressed"],
  ])("%s", (encoding, bytes, problem) => {
    const { usage, seen } = read([bytes], "application/json", encoding);
    expect(usage).toBeUndefined();
    expect(seen.problem).toContain(problem);
  });
});

test("what was compressed and cut off is read as far as it came", () => {
  const [chat] = bodies.filter(({ name }) => name.includes("Anthropic message in events"));
  const whole = gzipSync(chat?.body ?? "", { level: 0 });
  const { usage } = read([whole.subarray(0, 620)], chat?.type ?? "", "gzip");
  expect(usage).toMatchObject({ inputTokens: 425, outputTokens: 1 });
});
