/**
 * Looks around once a second: who else lives on the journal, what those left who are gone, what became
 * of what was handed over here, what waits; and keeps the journal tidy.
 */

import { clearTimeout, setImmediate, setTimeout } from "node:timers";
import type { HealthTeller } from "./health.ts";
import type { JournalTime } from "./journal-time.ts";
import type { Life } from "./life.ts";
import type { News } from "./news.ts";
import type { RedeemerOptions } from "./redeemer-options.ts";
import { createWatch } from "./watch.ts";

export const lookMs = 1_000;
/** Milliseconds between tidyings: how long a cleared proof may stay in the journal's files. */
const tidyMs = 60_000;
const prunedAtOnce = 1_000;

/**
 * Looks at once, and then again and again: one look never overlaps another, and one that fails is made
 * good by the next.
 *
 * @param onLook called after each: something may be due
 * @returns how to end it; resolves when no look is under way
 */
export function startLooking(
  { journal, owner, replaces = [], idempotentMs, retentionMs, now, elapsed, tell }: RedeemerOptions,
  health: HealthTeller,
  life: Life,
  time: JournalTime,
  news: News,
  onLook: () => void,
): () => Promise<void> {
  const gone = createWatch(elapsed, replaces);
  let nextTidy = elapsed() + tidyMs;
  let started = false;
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  let looking = look();

  /** Never rejects. */
  async function look() {
    try {
      await takeOver();
      const changes = await news.hear();
      if (changes.length > 0) tell({ kind: "changes", changes });
      if (elapsed() >= nextTidy) await tidy();
      health.worked("look");
    } catch (error) {
      health.failed("look", error);
    }
    health.tell();
    onLook();
    if (stopped) return;
    // What is durable does not keep the process alive.
    timer = setTimeout(() => {
      looking = look();
    }, lookMs).unref();
  }

  async function takeOver() {
    const left = { unresolved: [] as string[], resent: 0 };
    let pending: number | undefined;
    try {
      const asked = life.moment();
      time.told(await journal.clock(), asked);
      // Where the time was set back, nobody knows how long ago others sent.
      const resendSince =
        idempotentMs === null || !time.isSteady(idempotentMs) ? null : now() - idempotentMs;
      const others = await journal.beat(owner);
      life.beaten(asked);
      for (const from of gone(others)) {
        const taken = await journal.takeOver({ from, now: now(), resendSince });
        left.unresolved.push(...taken.unresolved);
        left.resent += taken.pending.length;
      }
      health.totals = await journal.totals();
      if (!started) pending = health.totals.pending;
      started = true;
    } finally {
      // What was taken over is told, whatever failed after it.
      if (pending !== undefined || left.unresolved.length > 0 || left.resent > 0) {
        tell({ kind: "recovered", pending: pending ?? 0, ...left });
      }
    }
  }

  async function tidy() {
    nextTidy = elapsed() + tidyMs;
    let pruned: number;
    do {
      pruned = await journal.prune(now() - retentionMs, prunedAtOnce);
      // Commits go on in between.
      await new Promise((resolve) => setImmediate(resolve));
    } while (pruned === prunedAtOnce && !stopped);
    await journal.tidy();
  }

  return async () => {
    stopped = true;
    clearTimeout(timer);
    await looking;
  };
}
