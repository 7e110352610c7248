import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type TokenRates, tokens, usage } from "../../src/usage/index.ts";
import { parseRate, type Rate } from "../../src/usage/rates.ts";

/** What an answer costs of which only this is known. */
function cost(rates: TokenRates, used: Parameters<typeof usage.report>[1]): number {
  const res = {} as never;
  usage.report(res, used);
  return tokens(rates)({} as never, res);
}

describe("the price of tokens", () => {
  test.each<[string, TokenRates, Parameters<typeof usage.report>[1], number]>([
    ["input and output", { input: 1, output: 2 }, { inputTokens: 2_000, outputTokens: 500 }, 3],
    ["rounded up once", { input: 1, output: 1 }, { inputTokens: 1, outputTokens: 1 }, 1],
    [
      "not rounded where exact",
      { input: 0.1, output: 0.2 },
      { inputTokens: 10_000, outputTokens: 10_000 },
      3,
    ],
    [
      "0.1 and 0.2 are not 0.30000000000000004",
      { input: 0.1, output: 0.2, per: 1 },
      { inputTokens: 10, outputTokens: 10 },
      3,
    ],
    [
      "a rate as text",
      { input: "0.15", output: "0.6" },
      { inputTokens: 20_000, outputTokens: 5_000 },
      6,
    ],
    [
      "what came from a cache",
      { input: 10, output: 0, cachedInput: 1 },
      { inputTokens: 1_000, cachedInputTokens: 900, outputTokens: 7 },
      2,
    ],
    [
      "without a rate for the cache",
      { input: 10, output: 0 },
      { inputTokens: 1_000, cachedInputTokens: 900, outputTokens: 7 },
      10,
    ],
    [
      "by another number of tokens",
      { input: 3, output: 15, per: 1_000_000 },
      { inputTokens: 1_000_000, outputTokens: 1_000_000 },
      18,
    ],
    [
      "at least something",
      { input: 1, output: 1, minimum: 5 },
      { inputTokens: 1, outputTokens: 0 },
      5,
    ],
    [
      "but a zero is a zero",
      { input: 1, output: 1, minimum: 5 },
      { inputTokens: 0, outputTokens: 0 },
      0,
    ],
    [
      "by model",
      { input: 1, output: 1, models: { big: { input: 9, output: 9 } } },
      { inputTokens: 1_000, outputTokens: 0, model: "big" },
      9,
    ],
    [
      "by pattern, the first that matches",
      {
        input: 1,
        output: 1,
        models: { "b*-mini": { input: 2, output: 2 }, "b*": { input: 9, output: 9 } },
      },
      { inputTokens: 1_000, outputTokens: 0, model: "big.1-mini" },
      2,
    ],
    [
      "a pattern is no regular expression",
      { input: 1, output: 1, models: { "b.g": { input: 9, output: 9 } } },
      { inputTokens: 1_000, outputTokens: 0, model: "big" },
      1,
    ],
  ])("%s", (_name, rates, used, expected) => {
    expect(cost(rates, used)).toBe(expected);
  });

  test("is exact, whatever the rates", () => {
    const places = fc.nat({ max: 6 });
    const decimal = fc.tuple(fc.nat({ max: 10_000_000 }), places);
    const written = ([digits, at]: [number, number]): Rate => {
      const text = String(digits).padStart(at + 1, "0");
      return at === 0 ? text : `${text.slice(0, -at)}.${text.slice(-at)}`;
    };
    fc.assert(
      fc.property(decimal, decimal, fc.nat(1_000_000), fc.nat(1_000_000), (input, output, a, b) => {
        // In millionths of a credit, as whole numbers.
        const exact = ([digits, at]: [number, number]) => BigInt(digits) * 10n ** BigInt(6 - at);
        const sum = BigInt(a) * exact(input) + BigInt(b) * exact(output);
        const divisor = 1_000n * 10n ** 6n;
        const expected = Number((sum + divisor - 1n) / divisor);
        const rates = { input: written(input), output: written(output) };
        expect(cost(rates, { inputTokens: a, outputTokens: b })).toBe(expected);
      }),
    );
  });

  test.each([0, 0.15, "0.000001", 12, "7.5"])("a rate may be %s", (rate) => {
    expect(parseRate(rate)).toBeDefined();
  });

  test.each([
    -1,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    1e21,
    1e-7,
    "1e3",
    "",
    "1.",
    ".5",
    " 1",
    "0x1",
    null,
    {},
    true,
  ])("a rate may not be %s", (rate) => {
    expect(() => tokens({ input: rate as never, output: 1 })).toThrow(
      expect.objectContaining({ code: "price-invalid" }),
    );
  });

  test.each([
    [{ input: 1 }, "output"],
    [{ input: 1, output: 1, inptu: 2 }, "inptu"],
    [{ input: 1, output: 1, per: 0 }, "per"],
    [{ input: 1, output: 1, minimum: 1.5 }, "minimum"],
    [{ input: 1, output: 1, missing: "zero" }, "missing"],
    [{ input: 1, output: 1, models: { a: { input: 1 } } }, "models.a.output"],
    [undefined, "object"],
  ])("a mistake stops the program: %j", (rates, what) => {
    expect(() => tokens(rates as never)).toThrow(what);
  });
});

describe("usage.report", () => {
  test.each([
    { inputTokens: -1, outputTokens: 0 },
    { inputTokens: 1.5, outputTokens: 0 },
    { inputTokens: 1 },
    { inputTokens: 1, outputTokens: 1, cachedInputTokens: 2 },
    { inputTokens: 1, outputTokens: 1, model: 7 },
  ])("refuses what is no usage: %j", (used) => {
    expect(() => usage.report({} as never, used as never)).toThrow(
      expect.objectContaining({ code: "usage-invalid" }),
    );
  });
});
