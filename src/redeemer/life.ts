/**
 * Whether this process may be a ghost: one that stood still (SIGSTOP, a machine that slept, a network that
 * let nothing through) until others took it for gone. A person may have decided since about what it was
 * sending, or another process may have sent it again. A ghost sends nothing.
 */

/** One moment by two clocks: the steady one stands still while a machine sleeps, the other can be set. */
export interface Moment {
  /** Milliseconds since 1970. */
  readonly wall: number;
  /** Milliseconds of a clock that nobody sets. */
  readonly steady: number;
}

export interface Life {
  moment(): Moment;
  /** The journal has taken a sign of life that was given at or after this moment. */
  beaten(asked: Moment): void;
  /** The stretch of life that lasts now; undefined while this process may be a ghost. */
  stretch(): number | undefined;
  /** Whether that stretch still lasts: a process that wakes may give a sign of life before it sends. */
  lasts(stretch: number | undefined): boolean;
}

/**
 * Milliseconds without a sign of life that the journal took, after which this process sends nothing. Others
 * take it for gone after 15,000 (`watch.ts`).
 */
const ghostAfterMs = 10_000;

export function createLife(now: () => number, elapsed: () => number): Life {
  let last: Moment | undefined;
  let stretch = 0;
  const moment = () => ({ wall: now(), steady: elapsed() });

  function isGhost(): boolean {
    if (!last) return true;
    const { wall, steady } = moment();
    // A clock that was set back by more than that says nothing of the age: not known is too old.
    return steady - last.steady > ghostAfterMs || Math.abs(wall - last.wall) > ghostAfterMs;
  }

  return {
    moment,
    beaten(asked) {
      if (isGhost()) stretch += 1;
      last = asked;
    },
    stretch: () => (isGhost() ? undefined : stretch),
    lasts: (since) => since === stretch && !isGhost(),
  };
}
