/** What one attack came to, and what it may come to at most. */

import type { Burn } from "../../src/ledger/index.ts";
import type { Seen } from "./crowd.ts";

/** One figure and its limit, which the options give. */
export interface Bound {
  readonly what: string;
  readonly found: number;
  /** The limit in the words of the options. */
  readonly formula: string;
  readonly limit: number;
}

export interface Row {
  readonly scenario: string;
  readonly requests: number;
  /** Answers with status 200 that came whole, or as good as whole. */
  readonly answers: number;
  /** Credits that those cost by the price. */
  readonly worth: number;
  /** Credits that the ledger burned for them. */
  readonly burned: number;
  readonly loss: number;
  /** Handlers that ran for requests that were answered; a process that is killed answers nothing more. */
  readonly handlers: number;
  /** Handlers that ran although their request was refused. */
  readonly refusedThatRan: number;
  readonly bounds: readonly Bound[];
}

export interface Evidence {
  readonly seen: readonly Seen[];
  /** Numbers of the requests whose handlers ran. */
  readonly ran: ReadonlySet<number>;
  readonly burns: readonly Burn[];
  /** What one answer costs. */
  readonly price: number;
}

export type Taken = Pick<Row, "answers" | "worth" | "burned" | "loss">;

export function most(what: string, found: number, formula: string, limit: number): Bound {
  return { what, found, formula, limit };
}

/** Burns are found by the ids of the answers: what others burn meanwhile is not counted. */
export function rowOf(
  scenario: string,
  { seen, ran, burns, price }: Evidence,
  boundsOf: (taken: Taken) => readonly Bound[],
): Row {
  const got = seen.filter(({ status }) => status === 200);
  const ids = new Set(got.map(({ redemptionId }) => redemptionId));
  const burned = burns
    .filter(({ idempotencyKey }) => idempotencyKey !== null && ids.has(idempotencyKey))
    .reduce((sum, { amount }) => sum + amount, 0);
  const worth = got.length * price;
  const taken = { answers: got.length, worth, burned, loss: worth - burned };
  const refused = seen.filter(({ status }) => status >= 400);
  return {
    scenario,
    requests: seen.length,
    ...taken,
    handlers: seen.filter(({ number, status }) => status !== 0 && ran.has(number)).length,
    refusedThatRan: refused.filter(({ number }) => ran.has(number)).length,
    bounds: boundsOf(taken),
  };
}

/** An answer without a handler, or a handler without an answer, would make the other figures lie. */
export function isKept({ bounds, refusedThatRan, handlers, answers }: Row): boolean {
  const within = bounds.every(({ found, limit }) => found <= limit);
  return within && refusedThatRan === 0 && handlers === answers;
}
