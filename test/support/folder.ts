/** What tests, examples and benches leave nowhere, also at Ctrl-C: temporary folders, and whatever else must be ended. */

import { mkdtempSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import path from "node:path";

export interface TemporaryFolder {
  readonly path: string;
  remove(): void;
}

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
const folders = new Set<string>();
const endings = new Set<() => unknown>();
let listens = false;
let interrupted = false;

/** Whether a signal ends this process: what its children say then is no news. */
export const isInterrupted = (): boolean => interrupted;

/**
 * Runs the task when a signal ends this process, before its folders go.
 *
 * @returns takes it back
 */
export function atInterrupt(task: () => unknown): () => void {
  listen();
  endings.add(task);
  return () => void endings.delete(task);
}

/** @param name what its name begins with */
export function temporaryFolder(name: string): TemporaryFolder {
  listen();
  const folder = mkdtempSync(path.join(tmpdir(), name));
  folders.add(folder);
  return {
    path: folder,
    remove() {
      remove(folder);
      folders.delete(folder);
    },
  };
}

/** Whoever started children kills them at the same event; what they were writing may come in between. */
function remove(folder: string) {
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
}

function listen() {
  if (listens) return;
  listens = true;
  process.on("exit", () => {
    for (const folder of folders) {
      try {
        remove(folder);
      } catch {
        // The others go all the same.
      }
    }
  });
  for (const signal of signals) {
    process.once(signal, async () => {
      interrupted = true;
      await Promise.allSettled([...endings].map(async (end) => end()));
      process.exit(128 + constants.signals[signal]);
    });
  }
}
