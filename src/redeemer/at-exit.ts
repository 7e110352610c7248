/** One listener for the process's exit, however many meters there are: Node warns at eleven. */

const hooks = new Set<() => void>();

/** Calls the hook, synchronously, when the process exits; returns how to take it off again. */
export function atExit(hook: () => void): () => void {
  if (hooks.size === 0) process.on("exit", runAll);
  hooks.add(hook);
  return () => {
    hooks.delete(hook);
    if (hooks.size === 0) process.off("exit", runAll);
  };
}

function runAll() {
  for (const hook of hooks) hook();
}
