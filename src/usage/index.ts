/**
 * Prices by what a model used: `express-credit-meter/usage`.
 *
 * @packageDocumentation
 */

import { report } from "./report.ts";

export type { Usage } from "../redemption.ts";

export type { Rate, Rates } from "./rates.ts";
export type { Seen } from "./reader.ts";
export { onAbort } from "./report.ts";
export { type TokenPrice, type TokenRates, tokens } from "./tokens.ts";

/** What a handler tells of the use of a model; see {@link report}. */
export const usage = { report } as const;
