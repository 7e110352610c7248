/**
 * What time it is for the journal, and whether ages by it can be believed. All processes on a journal must
 * mean the same by it: with a database it is the database's, as last told, carried on by the steady clock; on
 * one machine it is the wall clock, which they share. Either can be set. Where it was set back, how long ago
 * something was sent is not known any more: only an id's window depends on that (and then a person decides).
 */

import { dropOldest } from "../drop-oldest.ts";
import type { Moment } from "./life.ts";

export interface JournalTime {
  /** Milliseconds since 1970. */
  now(): number;
  /**
   * The journal was asked for its time.
   *
   * @param told milliseconds since 1970; null: it has none of its own
   * @param asked when it was asked
   */
  told(told: number | null, asked: Moment): void;
  /** Whether the time was not set back for as long as the window of an id, so that ages can be believed. */
  isSteady(windowMs: number): boolean;
  /** This process sends a charge of which no attempt before may have been applied. */
  sends(redemptionId: string): void;
  /** Nothing of it matters any more. */
  forget(redemptionId: string): void;
  /** How long ago that was, in milliseconds; undefined: not known. */
  ageOf(redemptionId: string, since: number, windowMs: number): number | undefined;
}

/** Milliseconds by which the time may be behind before it counts as set back: measuring takes a while, too. */
const toleranceMs = 1_000;

/** Charges of which is remembered that they were sent since the time was set back last. */
const maxRemembered = 10_000;

export function createJournalTime(wall: () => number, elapsed: () => number): JournalTime {
  /** Of the journal's time to the steady clock; undefined where it is the wall clock. */
  let offset: number | undefined;
  /** The greatest difference of the time to the steady clock that is certain. A machine that sleeps adds to it. */
  let ahead = Number.NEGATIVE_INFINITY;
  /** By the steady clock. */
  let setBackAt = Number.NEGATIVE_INFINITY;
  let setBackBy = 0;
  /** How often it was set back. */
  let epoch = 0;
  const sentIn = new Map<string, number>();

  function look(least: number, most: number) {
    if (most < ahead - toleranceMs) {
      epoch += 1;
      setBackBy += ahead - most;
      setBackAt = elapsed();
      ahead = least;
    }
    ahead = Math.max(ahead, least);
  }

  /** By the time itself, what was sent before seems younger by so much. */
  const isOver = (windowMs: number) => elapsed() - setBackAt > windowMs + setBackBy;

  function lookAtWall() {
    if (offset !== undefined) return;
    const difference = wall() - elapsed();
    look(difference, difference);
  }

  function isSteady(windowMs: number): boolean {
    lookAtWall();
    return isOver(windowMs);
  }

  return {
    now: () => (offset === undefined ? wall() : Math.round(elapsed() + offset)),
    told(told, asked) {
      if (told === null) return lookAtWall();
      // It was so at some moment between the question and now.
      look(told - elapsed(), told - asked.steady);
      offset = told - (asked.steady + elapsed()) / 2;
    },
    isSteady,
    sends(redemptionId) {
      lookAtWall();
      sentIn.set(redemptionId, epoch);
      if (sentIn.size > maxRemembered) dropOldest(sentIn, maxRemembered / 8);
    },
    forget: (redemptionId) => void sentIn.delete(redemptionId),
    ageOf(redemptionId, since, windowMs) {
      // What was sent here after it was set back has the right time.
      if (!isSteady(windowMs) && sentIn.get(redemptionId) !== epoch) return undefined;
      const age = (offset === undefined ? wall() : elapsed() + offset) - since;
      return age < -toleranceMs ? undefined : Math.max(0, age);
    },
  };
}
