/** Wires what is behind the door: journal, client, redeemer. Runs in the worker thread, or inline. */

import { createNeverminedClient } from "./client/nevermined.ts";
import { encodeRedeem } from "./client/wire.ts";
import { encodeSettle } from "./client/x402-wire.ts";
import { elapsed, now } from "./clock.ts";
import { openPostgresJournal, type PostgresPlace } from "./journal/postgres.ts";
import { openSqliteJournal } from "./journal/sqlite.ts";
import type { Outcome } from "./redeemer/door.ts";
import { createRedeemer, type Redeemer } from "./redeemer/redeemer.ts";

/** Plain data: it may cross to another thread. */
export interface EngineSettings {
  /** An absolute path, `:memory:`, or where PostgreSQL is. */
  readonly journal: string | PostgresPlace;
  readonly baseUrl: string;
  readonly redeemPath: string;
  readonly protocol: "plans" | "x402";
  readonly apiKey: string;
  readonly timeoutMs: number;
  readonly concurrency: number;
  readonly perHolder: number;
  /** Questions about balances and access tokens at once, at the most. */
  readonly maxQuestions: number;
  readonly backoff: { readonly baseMs: number; readonly maxMs: number };
  readonly circuitThreshold: number;
  readonly idempotentMs: number | null;
  readonly retentionMs: number;
}

export function createEngine(
  settings: EngineSettings,
  identity: { readonly owner: string; readonly replaces?: readonly string[] },
  tell: (outcome: Outcome) => void,
): Redeemer {
  const { journal: place } = settings;
  const journal = typeof place === "string" ? openSqliteJournal(place) : openPostgresJournal(place);
  const client = createNeverminedClient({
    ...settings,
    // A question about a balance or a token must not take the place of a charge. One more: an operator's.
    connections: settings.concurrency + settings.maxQuestions + 1,
    honoursIds: settings.idempotentMs !== null,
    now,
    elapsed,
  });
  client.warmUp();
  return createRedeemer({
    ...settings,
    ...identity,
    journal,
    ...(settings.protocol === "x402"
      ? { encode: encodeSettle, send: client.settle }
      : { encode: encodeRedeem, send: client.redeem }),
    verify: client.verify,
    askBalance: client.balance,
    end: client.close,
    tell,
    now,
    elapsed,
    random: Math.random,
  });
}
