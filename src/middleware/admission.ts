/**
 * What must be known, and remembered, of a request before its handler runs, beyond what the guard decides
 * at once: shared holds, proofs that pay once, the ledger's word on a token, strict durability.
 */

import { type Late, late, type Waits } from "../clock.ts";
import type { RefusalCode } from "../errors.ts";
import type { Hold, Turned } from "../guard/hold.ts";
import { type ProofVerdict, spentBy } from "../guard/proofs.ts";
import type { Redemptions } from "../redeemer/redemptions.ts";
import type { Payment, Redemption } from "../redemption.ts";
import type { Agreement } from "./x402/x402.ts";

/** A payment that may pass. */
export interface Admission {
  readonly payment: Payment;
  readonly hold: Hold;
  readonly waits: Waits;
  readonly verdict: ProofVerdict | undefined;
  readonly plans: readonly string[] | undefined;
  /** With x402. */
  readonly agreement: Agreement | undefined;
}

/** What a request is told that may not pass. */
export interface Refusal {
  readonly code: RefusalCode;
  readonly detail: string;
  readonly balance?: number;
}

export interface RememberParts {
  readonly redemptions: Pick<Redemptions, "reserve" | "prepare">;
  /** Whether a proof pays once. */
  readonly singleUse: boolean;
  /** Whether a redemption must be durable before its handler runs. */
  readonly strict: boolean;
}

export function createRemember(parts: RememberParts) {
  const { redemptions } = parts;

  /** Waits, for as long as the request may, until the journal has what it must have before the handler runs. */
  return async function remember(
    redemption: Redemption,
    { payment, verdict, agreement, waits }: Admission,
    shared: Promise<Turned | Late | undefined> | undefined,
  ): Promise<"remembered" | Late | Refusal> {
    // All at once: a request waits for one answer of the journal. They fail where it does not answer, or
    // the meter is being closed.
    const { reserve } = redemptions;
    const id = agreement?.agentRequestId ?? null;
    const all = await waits.within(
      Promise.all([
        parts.singleUse ? reserve(redemption, spentBy(payment, verdict)) : true,
        // Two settlements under one id would be one burn.
        id === null ? true : reserve(redemption, `x402 ${id}`),
        shared,
      ]).catch((): Late => late),
    );
    if (all === late) return late;
    const [isOurs, isNew, turned] = all;
    if (!isOurs) return proofSpent;
    if (!isNew) return requestIdRepeated;
    if (turned === late) return late;
    if (turned) return refusalOf(turned, verdict !== undefined);
    if (!parts.strict) return "remembered";
    const prepared = await waits.within(redemptions.prepare(redemption));
    return prepared === late ? late : "remembered";
  };
}

const turnedDetails: Record<Turned["code"], string> = {
  "insufficient-credits":
    "The holder has too few credits free for this request. Buy more, or wait for requests under way.",
  "holder-blocked":
    "The ledger refused a charge of this holder. Make sure that the proof is valid, and try again later.",
  "exposure-reached":
    "Too much is unpaid while the ledger does not tell this holder's balance. Try again when it was charged.",
  "ledger-away": "The balance cannot be checked right now. Try again in a moment.",
  "not-asked-in-time":
    "Too many holders' balances are to be checked, and this one's turn did not come in time. Try again in a moment.",
};

const proofSpent: Refusal = {
  code: "proof-spent",
  detail: "This proof has paid for a request before. Make a new one for each request.",
};

const requestIdRepeated: Refusal = {
  code: "request-id-repeated",
  detail: "The ledger gave this request an id that another request has. Send it again.",
};

/** Somebody who only knows an address must not learn what its holder has. */
export function refusalOf({ code, balance }: Turned, isVerified: boolean): Refusal {
  const detail = turnedDetails[code];
  return isVerified && balance !== undefined ? { code, detail, balance } : { code, detail };
}
