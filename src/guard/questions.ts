/**
 * Questions about holders: one at a time for each, and only so many at once. Who is known goes first, and
 * strangers never have all places: anybody can name a holder whom nobody knows.
 */

import type { Clock } from "../clock.ts";

/** Questions of each kind that wait for their turn, at the most; past them nobody is asked. */
const maxWaiting = 10_000;
/** Of so many places, one is kept for who is known. */
const keptOneOf = 4;

/** Whether a question was asked in time, and answered: three things. */
export type Asked<Answer> =
  | { readonly kind: "answered"; readonly answer: Answer }
  /** It was asked, and no answer came in time. */
  | { readonly kind: "silent" }
  /** Its turn did not come in time. */
  | { readonly kind: "unasked" };

/** Whether a question that was waited for was asked in time. */
export type WasAsked = "asked" | "unasked";

export interface Questions<Subject extends object> {
  /** Joins what is under way about the subject, or starts it. */
  share<Value>(subject: Subject, start: () => Promise<Value>): Promise<Value>;
  isUnderWay(subject: Subject): boolean;
  /** Asks when it is its turn. Never rejects. */
  ask<Answer>(question: () => Promise<Answer>, isKnown: boolean): Promise<Asked<Answer>>;
}

export interface QuestionsOptions {
  /** Questions at once, at the most. */
  readonly atOnce: number;
  /** Milliseconds that a question may wait for its turn, and as many that it may take then. */
  readonly longestMs: number;
  readonly clock: Clock;
}

interface Lane {
  /** Each begins its question. The first that came goes first. */
  readonly waiting: Set<() => void>;
  running: number;
}

export function createQuestions<Subject extends object>(
  options: QuestionsOptions,
): Questions<Subject> {
  const { atOnce, longestMs, clock } = options;
  const forStrangers = atOnce - Math.floor(atOnce / keptOneOf);
  const underWay = new Map<Subject, Promise<unknown>>();
  const known: Lane = { waiting: new Set(), running: 0 };
  const strangers: Lane = { waiting: new Set(), running: 0 };

  /** Whose turn it is now. */
  function nextLane(): Lane | undefined {
    if (known.running + strangers.running >= atOnce) return undefined;
    if (known.waiting.size > 0) return known;
    const mayStart = strangers.waiting.size > 0 && strangers.running < forStrangers;
    return mayStart ? strangers : undefined;
  }

  function startNext() {
    for (let lane = nextLane(); lane; lane = nextLane()) {
      const [begin] = lane.waiting;
      if (!begin) return;
      lane.waiting.delete(begin);
      lane.running += 1;
      begin();
    }
  }

  return {
    share<Value>(subject: Subject, start: () => Promise<Value>) {
      const before = underWay.get(subject);
      if (before) return before as Promise<Value>;
      const promise = start().finally(() => underWay.delete(subject));
      underWay.set(subject, promise);
      return promise;
    },

    isUnderWay: (subject) => underWay.has(subject),

    ask<Answer>(question: () => Promise<Answer>, isKnown: boolean) {
      const lane = isKnown ? known : strangers;
      if (lane.waiting.size >= maxWaiting) return Promise.resolve({ kind: "unasked" });
      return new Promise<Asked<Answer>>((resolve) => {
        let callOff = clock.after(longestMs, () => {
          lane.waiting.delete(begin);
          resolve({ kind: "unasked" });
        });
        async function begin() {
          callOff();
          // Whose turn comes late is no sign that nobody answers.
          callOff = clock.after(longestMs, () => resolve({ kind: "silent" }));
          try {
            resolve({ kind: "answered", answer: await question() });
          } catch {
            // The meter was closed meanwhile.
            resolve({ kind: "silent" });
          } finally {
            callOff();
            lane.running -= 1;
            startNext();
          }
        }
        lane.waiting.add(begin);
        startNext();
      });
    },
  };
}
