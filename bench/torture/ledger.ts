/** The ledger of a run: it knows which request each burn is for, and how often it left things open. */

import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Socket } from "node:net";
import { createLedger, type FaultRates, type Ledger } from "../../src/ledger/index.ts";
import { buyTokens, watchSettlements } from "./x402.ts";

export type Protocol = "plans" | "x402";

/**
 * Whether an id makes a charge idempotent. With x402 the ledger itself gives the ids: one that
 * ignores them gives none, unless the meter is to believe that they count.
 */
export type LedgerMode = "honour" | "ignore";

export interface TortureLedgerOptions {
  readonly mode: LedgerMode;
  readonly protocol: Protocol;
  /** What the meter believes that it is. */
  readonly believes: LedgerMode;
  readonly seed: number;
}

/** A burn, and the request that it is for. */
export interface BurnSeen {
  readonly redemptionId: string | null;
  readonly request: number | null;
  readonly amount: number;
}

/** As a person would say it. */
export function conductOf(mode: LedgerMode, protocol: Protocol): string {
  if (protocol === "plans") return mode === "honour" ? "honours ids" : "ignores ids";
  return mode === "honour" ? "honours the ids that it gives" : "gives no ids";
}

export interface TortureLedger {
  readonly ledger: Ledger;
  readonly plan: string;
  readonly holders: readonly string[];
  /** Their access tokens, with x402. */
  readonly tokens: readonly string[] | undefined;
  burns(): BurnSeen[];
  /** Answers after which nobody can say whether it burned: cut connections and 5xx. */
  ambiguous(): number;
  /** Answers with status 200 or 201, readable or not. */
  answered(): number;
  /** Connections that were made to it. Each can break under one charge, at the most. */
  connections(): number;
  /** Settlements that reached it, and burns under an id that it had given: none but with x402. */
  settlements(): { readonly came: number; readonly underGivenIds: number };
  close(): Promise<void>;
}

const plan = "105906633592154016712415751065229075315413571";
const holders = Array.from({ length: 40 }, (_, index) => `0x${String(index).padStart(40, "0")}`);

/** Idle connections are closed quickly, so that some are closed under a charge. */
const keepAliveMs = 40;

export async function openTortureLedger({
  mode,
  protocol,
  believes,
  seed,
}: TortureLedgerOptions): Promise<TortureLedger> {
  /** Requests in the order of their burns: the ledger asks for each right before it burns. */
  const proofs: (number | null)[] = [];
  const ledger = await createLedger({
    idempotency: mode,
    requestIds: mode === "ignore" && believes === "ignore" ? "none" : mode,
    tokenTtlMs: null,
    seed,
    keepAliveMs,
    acceptProof({ proof }) {
      const number = /^request-(\d+)$/.exec(proof)?.[1];
      proofs.push(number === undefined ? null : Number(number));
      return true;
    },
  });
  let connections = 0;
  const onConnection = (message: unknown) => {
    const { socket } = message as { socket: Socket };
    if (socket.localPort === ledger.port) connections += 1;
  };
  subscribe("net.server.socket", onConnection);
  for (const holderAddress of holders) ledger.mint({ planId: plan, holderAddress, amount: 1e9 });
  const tokens = protocol === "x402" ? await buyTokens(ledger, plan, holders) : undefined;
  const settlements = watchSettlements(ledger.port);
  /** How often a charge was answered so. */
  const answers = (isMeant: (status: string) => boolean) => {
    const { redeem, settle } = ledger.requests();
    return [...Object.entries(redeem), ...Object.entries(settle)]
      .filter(([status]) => isMeant(status))
      .reduce((sum, [, count]) => sum + (count ?? 0), 0);
  };
  return {
    ledger,
    plan,
    holders,
    tokens,
    burns: () =>
      ledger.burns().map(({ idempotencyKey, amount }, index) => ({
        redemptionId: idempotencyKey,
        request: tokens ? settlements.requestOf(idempotencyKey ?? "") : (proofs[index] ?? null),
        amount,
      })),
    ambiguous: () => answers((status) => status === "dropped" || Number(status) >= 500),
    answered: () => answers((status) => status === "200" || status === "201"),
    connections: () => connections,
    settlements: () => ({
      came: settlements.count(),
      underGivenIds: ledger.burns().filter(({ agentRequestId }) => agentRequestId !== null).length,
    }),
    async close() {
      unsubscribe("net.server.socket", onConnection);
      settlements.close();
      await ledger.close();
    },
  };
}

/** Charges, and the question before one: whatever may befall both. */
const on = ["redeem", "settle", "verify"] as const;

/** Time on the wire, so that a kill finds charges there. */
export const delays: FaultRates = {
  "delay-before-applying": { rate: 0.8, ms: [3, 30], on },
  "delay-after-applying": { rate: 0.3, ms: [1, 15] },
};

/** Everything that may befall a charge, a little of each. */
export function faultsOf(mode: LedgerMode): FaultRates {
  return {
    ...delays,
    "reject-connection-before-applying": 0.02,
    "drop-before-applying": { rate: 0.004, on },
    "drop-after-applying": { rate: 0.008, on },
    "error-before-applying": { rate: 0.004, status: 503, code: "BCK.AUTH.0014", on },
    "error-after-applying": { rate: 0.008, status: 502 },
    "throttle-before-applying": { rate: 0.01, retryAfter: 0 },
    "garbage-before-applying": { rate: 0.003, on },
    "garbage-after-applying": 0.005,
    "close-after-applying": 0.01,
    // A ledger that honours ids and refuses one that it has burned contradicts itself: whoever asked
    // again could only believe it.
    ...(mode === "ignore" && {
      // For want of credits, which a balance disproves. A token that was refused would block its holder for
      // the rest of the run.
      "refuse-before-applying": { rate: 0.004, status: 402, code: "BCK.CREDITS.0003" },
    }),
  };
}
