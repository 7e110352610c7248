/** A price by tokens, as the response itself tells them. */

import type { Request, Response } from "express";
import { z } from "zod";
import { CreditMeterError } from "../errors.ts";
import { checked } from "../mistakes.ts";
import type { Usage } from "../redemption.ts";
import { costOf, type ParsedRates, parseRate, type Rate, type Rates } from "./rates.ts";
import type { Seen } from "./reader.ts";
import { reportedUsage } from "./report.ts";
import { heardOf, tap } from "./tap.ts";
import { noteUsage } from "./usage.ts";

/** Options of {@link tokens}. */
export interface TokenRates extends Rates {
  /** The rates are credits for so many tokens. Default: 1,000; 1 to 1,000,000,000. */
  readonly per?: number | undefined;
  /** Credits that an answer costs at least in which any token was used. Default: 0. */
  readonly minimum?: number | undefined;
  /** Other rates by the model's name; `*` stands for any characters. The first that matches counts. */
  readonly models?: Readonly<Record<string, Rates>> | undefined;
  /**
   * What an answer costs whose usage nobody tells. Default: `"price-error"`: it is left unresolved, and an
   * operator supplies the amount. A number of credits, or a function of what was seen.
   */
  readonly missing?: "price-error" | number | ((seen: Seen) => number) | undefined;
}

/** A price that {@link tokens} makes. */
export interface TokenPrice {
  (req: Request, res: Response, delivery?: { readonly cutBy: string | null }): number;
  /** Called when a request is admitted, before its handler runs. */
  watch(res: Response): void;
}

const rate = z.custom<Rate>(
  (value) => parseRate(value) !== undefined,
  "must be a decimal number of credits from 0 upwards with at most 12 places, such as 0.15",
);
const rates = { input: rate, output: rate, cachedInput: rate.optional() };
const creditWords = "must be a whole number of credits from 0 upwards";
const credits = z.int(creditWords).min(0, creditWords);
const perWords = "must be a whole number of tokens from 1 to 1,000,000,000";

const schema = z.strictObject(
  {
    ...rates,
    per: z.int(perWords).min(1, perWords).max(1_000_000_000, perWords).default(1_000),
    minimum: credits.default(0),
    models: z.record(z.string().min(1), z.strictObject(rates)).default({}),
    missing: z
      .union(
        [
          z.literal("price-error"),
          credits,
          z.custom<(seen: Seen) => number>((value) => typeof value === "function"),
        ],
        'must be "price-error", a whole number of credits, or a function that returns one',
      )
      .default("price-error"),
  },
  // An unknown member has words of its own.
  {
    error: ({ code }) =>
      code === "invalid_type" ? "must be an object with at least input and output" : undefined,
  },
);

/**
 * Prices an answer by its tokens. They are read from the response itself, JSON or server-sent events, in
 * the shapes of OpenAI's chat completions, embeddings and responses, DeepSeek's, Anthropic's messages and
 * Gemini's generateContent; `usage.report` wins over what was read. The sum is exact, and rounded up once.
 *
 * @throws {CreditMeterError} `price-invalid`, while the program starts
 * @example
 * ```ts
 * import { creditMeter } from "express-credit-meter";
 * import { tokens } from "express-credit-meter/usage";
 *
 * const meter = creditMeter({
 *   environment: "sandbox",
 *   plans: ["1059"],
 *   routes: {
 *     "POST /v1/chat/completions": {
 *       hold: 400,
 *       price: tokens({
 *         input: 0.15, // credits for 1,000 tokens
 *         output: 0.6,
 *         cachedInput: 0.075,
 *         models: { "large-*": { input: 2.5, output: 10 } },
 *       }),
 *     },
 *   },
 * });
 * ```
 */
export function tokens(options: TokenRates): TokenPrice {
  const read = checked(schema, options);
  if ("wrong" in read) {
    throw new CreditMeterError("price-invalid", `Mend the rates of tokens(): ${read.wrong}.`);
  }
  const { per, minimum, missing } = read.data;
  const usual = parsed(read.data);
  const models = Object.entries(read.data.models).map(
    ([pattern, own]) => [matcher(pattern), parsed(own)] as const,
  );

  function ratesOf(model: string | undefined): ParsedRates {
    if (model === undefined) return usual;
    return models.find(([matches]) => matches(model))?.[1] ?? usual;
  }

  function priceOf(used: Usage): number {
    const cost = costOf(used, ratesOf(used.model), per);
    const isUsed = used.inputTokens + used.outputTokens > 0;
    const least = isUsed ? BigInt(minimum) : 0n;
    // Past what a number can hold it is no price, and the meter says so.
    return Number(cost < least ? least : cost);
  }

  const price = (_req: Request, res: Response, delivery?: { cutBy: string | null }): number => {
    const heard = heardOf(res)?.read();
    // A model's SDK that was aborted says 0 of what it had not been told: no figure of what was used.
    const isCut = delivery?.cutBy === "client";
    const used = [reportedUsage(res), heard?.usage].find((one) => one && !(isCut && isNone(one)));
    if (used) {
      noteUsage(res, used);
      return priceOf(used);
    }
    const seen = heard?.seen ?? { bytes: 0, events: 0, model: undefined, problem: undefined };
    if (typeof missing === "number") return missing;
    if (typeof missing === "function") return missing(seen);
    const why = seen.problem ? `could not be read (${seen.problem})` : "tells no usage";
    throw new Error(
      `the response ${why}; ask the model for it, or call usage.report(res, …) in the handler`,
    );
  };
  return Object.assign(price, { watch: (res: Response) => tap(res) });
}

function isNone({ inputTokens, outputTokens }: Usage): boolean {
  return inputTokens + outputTokens === 0;
}

function parsed({ input, output, cachedInput = input }: Rates): ParsedRates {
  const exact = (rate: Rate) => parseRate(rate) ?? 0n;
  return { input: exact(input), output: exact(output), cachedInput: exact(cachedInput) };
}

function matcher(pattern: string): (model: string) => boolean {
  const parts = pattern.split("*").map((part) => part.replace(/[\\^$.|?+()[\]{}]/g, "\\$&"));
  const expression = new RegExp(`^${parts.join(".*")}$`, "s");
  return (model) => expression.test(model);
}
