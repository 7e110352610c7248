/** Holds of all processes on the journal: together what comes together, one question after the other. */

import { setImmediate, setTimeout } from "node:timers";
import type { HoldAnswer, HoldAsked } from "../account.ts";
import type { Journal } from "../journal/journal.ts";

export interface Holds {
  /** Rejects where the journal cannot be asked. */
  hold(asked: HoldAsked): Promise<HoldAnswer>;
  /** Never rejects: what cannot be given back now is later. */
  release(redemptionId: string): void;
}

/** Holds that are asked for at once. */
const atOnce = 256;
/** Milliseconds before what could not be given back is tried again. */
const retryMs = 1_000;

interface Waiting {
  readonly asked: HoldAsked;
  readonly resolve: (answer: HoldAnswer) => void;
  readonly reject: (error: unknown) => void;
}

export function createHolds(journal: Pick<Journal, "hold" | "release">, owner: string): Holds {
  const waiting: Waiting[] = [];
  const released = new Set<string>();
  let running = false;
  let retry: NodeJS.Timeout | undefined;

  function runAgain() {
    retry = undefined;
    void run();
  }

  /** Begins when all that is there now has been asked for. Never rejects. */
  async function run() {
    if (running) return;
    running = true;
    await new Promise((resolve) => setImmediate(resolve));
    while (waiting.length > 0 || released.size > 0) {
      if (!(await releaseAll()) && !retry) retry = setTimeout(runAgain, retryMs).unref();
      if (waiting.length === 0) break;
      await holdSome(waiting.splice(0, atOnce));
    }
    running = false;
  }

  async function holdSome(some: readonly Waiting[]) {
    try {
      const answers = await journal.hold(
        owner,
        some.map(({ asked }) => asked),
      );
      for (const [index, { resolve, reject }] of some.entries()) {
        const answer = answers[index];
        if (answer) resolve(answer);
        else reject(new Error("The journal did not answer."));
      }
    } catch (error) {
      for (const { reject } of some) reject(error);
    }
  }

  async function releaseAll(): Promise<boolean> {
    const ids = [...released];
    if (ids.length === 0) return true;
    try {
      await journal.release(ids);
      for (const id of ids) released.delete(id);
      return true;
    } catch {
      return false;
    }
  }

  return {
    hold: (asked) =>
      new Promise((resolve, reject) => {
        waiting.push({ asked, resolve, reject });
        void run();
      }),
    release(redemptionId) {
      released.add(redemptionId);
      void run();
    },
  };
}
