/** Gathers how it goes behind the door, and tells it when it has changed. */

import type { Totals } from "../journal/journal.ts";
import type { Health } from "./door.ts";
import { noTotals } from "./totals.ts";

/** What can fail of the journal. One that works says nothing of the other. */
type Work = "commit" | "look";

export interface HealthTeller {
  totals: Totals;
  worked(work: Work): void;
  failed(work: Work, error: unknown): void;
  /** Tells it, if it is not what was told last. */
  tell(): void;
}

/** @param paused why sending pauses */
export function createHealth(
  tell: (health: Health) => void,
  paused: () => { readonly reason: string; readonly fault?: string } | null,
): HealthTeller {
  const problems: Record<Work, string | null> = { commit: null, look: null };
  let told = "";
  const health: HealthTeller = {
    totals: noTotals,
    worked(work) {
      problems[work] = null;
    },
    failed(work, error) {
      problems[work] = `The journal cannot be written: ${messageOf(error)}`;
    },
    tell() {
      const problem = problems.commit ?? problems.look;
      const { totals } = health;
      const pause = paused();
      const news = {
        writable: problem === null,
        problem,
        totals,
        paused: pause?.reason ?? null,
        fault: pause?.fault ?? null,
      };
      const text = JSON.stringify(news);
      if (text === told) return;
      told = text;
      tell(news);
    },
  };
  return health;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
