/**
 * For how long the ledger has decided nothing, while charges of at least two holders wait. One charge that can
 * never be sent, or all of one holder, say nothing of the others. The time is that of this process's steady
 * clock, from when they were first seen waiting here: no clock of another process, and none that jumps, counts.
 */
export interface Stall {
  /** A charge of this holder was handed over, or must be sent again. */
  waits(holderKey: string): void;
  /** The ledger has decided about a charge: it works. */
  decided(): void;
  /** Milliseconds; 0 while it does not stall. */
  ageMs(): number;
  /**
   * Whether a request may pass although it stalls, so that its charge tries whether the ledger works again: what
   * still waits may never have been the ledger's fault. Once a minute.
   */
  mayTry(): boolean;
}

const betweenTriesMs = 60_000;

export function createStall(elapsed: () => number): Stall {
  let since = 0;
  const holders = new Set<string>();
  let nextTry = Number.NEGATIVE_INFINITY;

  return {
    waits(holderKey) {
      if (holders.size === 0) since = elapsed();
      // More than two need not be told apart.
      if (holders.size < 2) holders.add(holderKey);
    },
    decided() {
      holders.clear();
    },
    ageMs: () => (holders.size < 2 ? 0 : elapsed() - since),
    mayTry() {
      if (elapsed() < nextTry) return false;
      nextTry = elapsed() + betweenTriesMs;
      return true;
    },
  };
}
