/**
 * The redemptions under way in this process, from admission to outcome: gives each its place, hands
 * charges over at the door, carries outcomes out on the record, and tells whoever listens.
 */

import { randomUUID } from "node:crypto";
import {
  applyChange,
  type Charge,
  isSettled,
  openRedemption,
  type Payment,
  type Redemption,
  type Skip,
} from "../redemption.ts";
import type { Door, Outcome } from "./door.ts";

export interface RedemptionsOptions {
  readonly environment: "production" | "test";
  /** Redemptions under way at once, at the most. */
  readonly maxUnderWay: number;
  /** Bytes of their payments, at the most. */
  readonly maxUnderWayBytes: number;
  readonly openDoor: (tell: (outcome: Outcome) => void) => Door;
  /** Called once for every redemption that settles. */
  readonly onSettled: (redemption: Redemption) => void;
  /** Called with every charge that must be sent again, and with null when the ledger answers. */
  readonly onTrouble: (trouble: Extract<Outcome["change"], { status: "pending" }> | null) => void;
  /** Called for a charge that is decided when nothing can be sent any more. */
  readonly onUnsent: (redemption: Redemption) => void;
  readonly now: () => number;
}

export interface Redemptions {
  /** Admits a request if there is a place for its charge; else says why not. */
  open(payment: Payment, route: string): Redemption | "queue-full" | "closing";
  /** Hands the charge over. Credits, a positive safe integer. */
  charge(redemption: Redemption, amount: number): void;
  /** Settles what needs no ledger: a skip, or a price that could not be computed. */
  decide(redemption: Redemption, decision: Skip | UnpricedDecision): void;
  /** Waits until every redemption that is under way now is settled. */
  flush(): Promise<void>;
  /** Refuses new ones, waits for those under way until the deadline; returns what is left. */
  close(deadlineMs: number): Promise<readonly Redemption[]>;
}

type UnpricedDecision = Extract<Outcome["change"], { status: "unresolved" }>;

interface UnderWay {
  readonly redemption: Redemption;
  readonly settle: () => void;
  readonly proof: string;
  readonly bytes: number;
}

export function createRedemptions(options: RedemptionsOptions): Redemptions {
  const underWay = new Map<string, UnderWay>();
  let underWayBytes = 0;
  let closing: Promise<readonly Redemption[]> | undefined;
  let stopped = false;

  const door = options.openDoor(({ redemptionId, change }) => {
    const entry = underWay.get(redemptionId);
    if (entry) carryOut(entry, change);
  });

  function carryOut(entry: UnderWay, change: Parameters<typeof applyChange>[1]) {
    const { redemption } = entry;
    if (!applyChange(redemption, change, options.now())) return;
    if (change.status === "pending") options.onTrouble(change);
    if (change.status === "completed" || change.status === "failed") options.onTrouble(null);
    if (!isSettled(redemption.status)) return;
    underWay.delete(redemption.redemptionId);
    underWayBytes -= entry.bytes;
    options.onSettled(redemption);
    entry.settle();
  }

  const flush = async () => {
    await Promise.all([...underWay.values()].map((entry) => entry.redemption.settled));
  };

  async function drain(deadlineMs: number) {
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, deadlineMs);
    });
    await Promise.race([flush(), deadline]);
    clearTimeout(timer);
    stopped = true;
    await door.ask({ kind: "ask", ask: "stop" });
    const left = [...underWay.values()].map((entry) => entry.redemption);
    for (const redemption of left) options.onUnsent(redemption);
    return left;
  }

  return {
    open(payment, route) {
      if (closing) return "closing";
      const { planId, holderAddress, proof } = payment;
      const bytes = planId.length + holderAddress.length + proof.length;
      if (underWay.size >= options.maxUnderWay) return "queue-full";
      if (underWayBytes + bytes > options.maxUnderWayBytes) return "queue-full";
      const redemptionId = randomUUID();
      const { redemption, settle } = openRedemption(
        { redemptionId, planId, holderAddress, route, environment: options.environment },
        options.now(),
      );
      underWay.set(redemptionId, { redemption, settle, proof, bytes });
      underWayBytes += bytes;
      return redemption;
    },

    charge(redemption, amount) {
      const entry = underWay.get(redemption.redemptionId);
      if (!entry) return;
      redemption.redemption.requestedAmount = amount;
      redemption.message = `To be charged ${amount}.`;
      if (stopped) return options.onUnsent(redemption);
      const { redemptionId, planId, holderAddress } = redemption;
      const charge: Charge = { redemptionId, planId, holderAddress, proof: entry.proof, amount };
      door.submit({ kind: "submit", charge });
    },

    decide(redemption, decision) {
      const entry = underWay.get(redemption.redemptionId);
      if (!entry) return;
      if (decision.reason === "price-zero") redemption.redemption.requestedAmount = 0;
      carryOut(entry, decision);
    },

    flush,

    close(deadlineMs) {
      closing ??= drain(deadlineMs);
      return closing;
    },
  };
}
