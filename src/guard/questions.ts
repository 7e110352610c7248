/** Questions about holders: one at a time for each, and only so many at once. */

/** Milliseconds that a question may take, waiting for its turn included. */
const longestMs = 5_000;
/** Questions that wait for their turn, at the most; past them nobody is asked. */
const maxWaiting = 10_000;

export interface Questions<Subject extends object> {
  /** Joins what is under way about the subject, or starts it. */
  share(subject: Subject, start: () => Promise<void>): Promise<void>;
  isUnderWay(subject: Subject): boolean;
  /** Asks when it is its turn. Undefined where no answer came in time. Never rejects. */
  ask<Answer>(question: () => Promise<Answer>): Promise<Answer | undefined>;
}

export function createQuestions<Subject extends object>(atOnce: number): Questions<Subject> {
  const underWay = new Map<Subject, Promise<void>>();
  const waiting: (() => void)[] = [];
  let asked = 0;

  /** A place that is given back goes to whoever waits first. */
  function giveBack() {
    const next = waiting.shift();
    if (next) next();
    else asked -= 1;
  }

  async function takePlace() {
    if (asked < atOnce) asked += 1;
    else await new Promise<void>((resolve) => waiting.push(resolve));
  }

  return {
    share(subject, start) {
      const before = underWay.get(subject);
      if (before) return before;
      const promise = start().finally(() => underWay.delete(subject));
      underWay.set(subject, promise);
      return promise;
    },

    isUnderWay: (subject) => underWay.has(subject),

    ask<Answer>(question: () => Promise<Answer>) {
      if (waiting.length >= maxWaiting) return Promise.resolve(undefined);
      return new Promise<Answer | undefined>((resolve) => {
        let isLate = false;
        const timer = setTimeout(() => {
          isLate = true;
          resolve(undefined);
        }, longestMs);
        const run = async () => {
          await takePlace();
          try {
            if (!isLate) resolve(await question());
          } catch {
            // The meter was closed meanwhile.
            resolve(undefined);
          } finally {
            clearTimeout(timer);
            giveBack();
          }
        };
        void run();
      });
    },
  };
}
