/** Credits on hold for one request, from its admission to its charge. */

import type { Payment } from "../redemption.ts";
import type { Standing } from "./standing.ts";

/** Credits on hold for one request. */
export interface Hold {
  /** Credits that are on hold. */
  credits(): number;
  /** Changes how much is on hold; a refusal leaves it as it is. */
  change(credits: number): Turned | undefined | Promise<Turned | undefined>;
  /**
   * Makes it known to all processes, under the id of its redemption. Undefined where there is nothing to
   * wait for; else the request may still be refused. Rejects where the journal does not answer.
   */
  share(redemptionId: string): Promise<Turned | undefined> | undefined;
  /** Ends it. Once: what comes later is forgotten. */
  end(): void;
}

/** Why a request may not pass. */
export interface Turned {
  readonly code: "insufficient-credits" | "holder-blocked" | "exposure-reached" | "ledger-away";
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
    isAnswered: boolean,
  ): Turned | "pass" | undefined;
  askOnce(standing: Standing): Promise<void>;
  /** Sets so many aside among all processes; undefined where holds are this process's own. */
  readonly share:
    | ((
        standing: Standing,
        payment: Payment,
        redemptionId: string,
        credits: number,
      ) => Promise<Turned | undefined>)
    | undefined;
}

/** Puts credits on hold that the guard has let through. */
export function takeHold(
  standing: Standing,
  credits: number,
  payment: Payment,
  { alter, decide, askOnce, share }: HoldParts,
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
    return share(standing, payment, sharedAs, held);
  }

  /** Raises it where that may pass; what the journal then refuses stays there as it was. */
  function raise(next: number, isAnswered: boolean) {
    const before = held;
    const decision = decide(standing, next - held, proof, isAnswered);
    if (decision !== "pass") return decision;
    if (ended) return undefined;
    set(next);
    return shareIt()?.then((turned) => {
      if (turned && !ended) set(before);
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
      const mustAsk = decide(standing, next - held, proof, false) === undefined;
      return mustAsk ? askOnce(standing).then(() => raise(next, true)) : raise(next, false);
    },
    end() {
      if (ended) return;
      set(0);
      ended = true;
    },
  };
}
