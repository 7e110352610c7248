/**
 * In place of `node:timers` in tests that move time by hand: Vitest's fake clocks replace the global
 * functions only, which the package does not use.
 */

type Timer = ReturnType<typeof globalThis.setTimeout>;

export const setTimeout = (...given: Parameters<typeof globalThis.setTimeout>) =>
  globalThis.setTimeout(...given);
export const setInterval = (...given: Parameters<typeof globalThis.setInterval>) =>
  globalThis.setInterval(...given);
export const setImmediate = (...given: Parameters<typeof globalThis.setImmediate>) =>
  globalThis.setImmediate(...given);
export const clearTimeout = (timer: Timer | undefined) => globalThis.clearTimeout(timer);
export const clearInterval = (timer: Timer | undefined) => globalThis.clearInterval(timer);
export const clearImmediate = (immediate: NodeJS.Immediate | undefined) =>
  globalThis.clearImmediate(immediate);
