/** The ledger of a run: it knows which request each burn is for, and how often it left things open. */

import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Socket } from "node:net";
import { createLedger, type FaultRates, type Ledger } from "../../src/ledger/index.ts";

export type LedgerMode = "honour" | "ignore";

/** A burn, and the request whose proof it carried. */
export interface BurnSeen {
  readonly redemptionId: string | null;
  readonly request: number | null;
  readonly amount: number;
}

export interface TortureLedger {
  readonly ledger: Ledger;
  readonly plan: string;
  readonly holders: readonly string[];
  burns(): BurnSeen[];
  /** Answers after which nobody can say whether it burned: cut connections and 5xx. */
  ambiguous(): number;
  /** Answers with status 200, readable or not. */
  answered(): number;
  /** Connections that were made to it. Each can break under one charge, at the most. */
  connections(): number;
  close(): Promise<void>;
}

const plan = "105906633592154016712415751065229075315413571";
const holders = Array.from({ length: 40 }, (_, index) => `0x${String(index).padStart(40, "0")}`);

/** Idle connections are closed quickly, so that some are closed under a charge. */
const keepAliveMs = 40;

export async function openTortureLedger(mode: LedgerMode, seed: number): Promise<TortureLedger> {
  /** Requests in the order of their burns: the ledger asks for each right before it burns. */
  const proofs: (number | null)[] = [];
  const ledger = await createLedger({
    idempotency: mode,
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
  return {
    ledger,
    plan,
    holders,
    burns: () =>
      ledger.burns().map(({ idempotencyKey, amount }, index) => ({
        redemptionId: idempotencyKey,
        request: proofs[index] ?? null,
        amount,
      })),
    ambiguous: () =>
      Object.entries(ledger.requests().redeem)
        .filter(([status]) => status === "dropped" || Number(status) >= 500)
        .reduce((sum, [, count]) => sum + (count ?? 0), 0),
    answered: () => ledger.requests().redeem[200] ?? 0,
    connections: () => connections,
    async close() {
      unsubscribe("net.server.socket", onConnection);
      await ledger.close();
    },
  };
}

/** Time on the wire, so that a kill finds charges there. */
export const delays: FaultRates = {
  "delay-before-applying": { rate: 0.8, ms: [3, 30] },
  "delay-after-applying": { rate: 0.3, ms: [1, 15] },
};

/** Everything that may befall a charge, a little of each. */
export function faultsOf(mode: LedgerMode): FaultRates {
  return {
    ...delays,
    "reject-connection-before-applying": 0.02,
    "drop-before-applying": 0.004,
    "drop-after-applying": 0.008,
    "error-before-applying": { rate: 0.004, status: 503, code: "BCK.AUTH.0014" },
    "error-after-applying": { rate: 0.008, status: 502 },
    "throttle-before-applying": { rate: 0.01, retryAfter: 0 },
    "garbage-before-applying": 0.003,
    "garbage-after-applying": 0.005,
    "close-after-applying": 0.01,
    // A ledger that honours ids and refuses one that it has burned contradicts itself: whoever asked
    // again could only believe it.
    ...(mode === "ignore" && { "refuse-before-applying": { rate: 0.004, status: 402 } }),
  };
}
