/** Credits on hold for one request, from its admission to its charge. */

import { type Late, late, type Waits } from "../clock.ts";
import type { Payment } from "../redemption.ts";
import type { WasAsked } from "./questions.ts";
import type { Standing } from "./standing.ts";

/** Credits on hold for one request. */
export interface Hold {
  /** Credits that are on hold. */
  credits(): number;
  /** Changes how much is on hold; a refusal leaves it as it is. Rejects where the journal cannot answer. */
  change(credits: number): Turned | Late | undefined | Promise<Turned | Late | undefined>;
  /**
   * Makes it known to all processes, under the id of its redemption. Undefined where there is nothing to
   * wait for; else the request may still be refused. Rejects where the journal cannot answer.
   */
  share(redemptionId: string): Promise<Turned | Late | undefined> | undefined;
  /** Ends it. Once: what comes later is forgotten. */
  end(): void;
}

/** Why a request may not pass. */
export interface Turned {
  readonly code:
    | "insufficient-credits"
    | "holder-blocked"
    | "exposure-reached"
    | "ledger-away"
    | "not-asked-in-time";
  /** What the holder has free, where the ledger told; for nobody but the holder. */
  readonly balance?: number;
}

export interface HoldParts {
  /** Every change to what a standing owes goes through this. */
  alter(standing: Standing, change: (standing: Standing) => void): void;
  /** Whether so many more may pass; undefined where the ledger must be asked first. */
  decide(
    standing: Standing,
    credits: number,
    proof: string,
    asked: WasAsked | undefined,
  ): Turned | "pass" | undefined;
  askWithin(standing: Standing, waits: Waits): Promise<WasAsked>;
  /** Sets so many aside among all processes; undefined where holds are this process's own. */
  readonly share:
    | ((
        standing: Standing,
        payment: Payment,
        redemptionId: string,
        credits: number,
        waits: Waits,
      ) => Promise<Turned | Late | undefined>)
    | undefined;
}

/** Puts credits on hold that the guard has let through. */
export function takeHold(
  standing: Standing,
  credits: number,
  payment: Payment,
  waits: Waits,
  { alter, decide, askWithin, share }: HoldParts,
): Hold {
  const { proof } = payment;
  let held = 0;
  let ended = false;
  let sharedAs: string | undefined;

  function set(next: number): undefined {
    alter(standing, () => {
      standing.held += next - held;
    });
    held = next;
  }

  function shareIt() {
    if (!share || sharedAs === undefined || ended || held === 0) return undefined;
    return share(standing, payment, sharedAs, held, waits);
  }

  /** Raises it where that may pass; what the journal then refuses stays there as it was. */
  function raise(next: number, asked: WasAsked | undefined) {
    const before = held;
    const decision = decide(standing, next - held, proof, asked);
    if (decision !== "pass") return decision;
    if (ended) return undefined;
    set(next);
    return shareIt()?.then((turned) => {
      // What comes late may be held there all the same: until the redemption ends.
      if (turned && turned !== late && !ended) set(before);
      return turned;
    });
  }

  set(credits);
  return {
    credits: () => held,
    share(redemptionId) {
      sharedAs = redemptionId;
      return shareIt();
    },
    change(next) {
      if (ended) return undefined;
      if (next <= held) return set(next);
      const mustAsk = decide(standing, next - held, proof, undefined) === undefined;
      if (!mustAsk) return raise(next, undefined);
      return askWithin(standing, waits).then((asked) => raise(next, asked));
    },
    end() {
      if (ended) return;
      set(0);
      ended = true;
    },
  };
}
