/** Child processes: started, spoken to, killed by their id, and never left behind. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";

export interface Child<To, From extends { kind: string }> {
  readonly pid: number;
  send(message: To): void;
  /** Resolves with the next message of the kind, or with the first that came before; rejects where the process ends, or after the time. */
  next<Kind extends From["kind"]>(
    kind: Kind,
    withinMs?: number,
  ): Promise<Extract<From, { kind: Kind }>>;
  /** Resolves when the process has ended. */
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  kill(): void;
}

export interface ChildOptions {
  /** A module that is loaded before the file, in its worker threads, too. */
  readonly preload?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Told what it writes to its standard error. */
  readonly onLine?: (line: string) => void;
}

/** All that live, for the case that the run itself ends early. */
const alive = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of alive) child.kill("SIGKILL");
});

export function startChild<To, From extends { kind: string }>(
  file: string,
  settings: unknown,
  { preload, env = {}, onLine }: ChildOptions = {},
): Child<To, From> {
  const args = [...(preload ? ["--import", preload] : []), file, JSON.stringify(settings)];
  const child = spawn(process.execPath, args, {
    stdio: ["ignore", "ignore", "pipe", "ipc"],
    // Not NODE_OPTIONS of whatever runs the tests.
    env: { PATH: process.env.PATH, TMPDIR: process.env.TMPDIR, ...env },
  });
  alive.add(child);
  const ended = once(child, "exit").then(([code, signal]) => {
    alive.delete(child);
    return { code, signal };
  });
  // A message to a process that has just died is no failure.
  child.on("error", () => {});
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    for (const line of text.split("\n")) if (line.trim() !== "") onLine?.(line);
  });
  const came: From[] = [];
  const waiting = new Set<() => void>();
  child.on("message", (message: From) => {
    came.push(message);
    for (const look of waiting) look();
  });

  return {
    pid: child.pid ?? 0,
    ended,
    send: (message) => {
      if (child.connected) child.send(message as object, () => {});
    },
    kill: () => child.kill("SIGKILL"),
    next(kind, withinMs = 30_000) {
      return new Promise((resolve, reject) => {
        const end = (act: () => void) => {
          clearTimeout(timer);
          waiting.delete(look);
          act();
        };
        const look = () => {
          const index = came.findIndex((message) => message.kind === kind);
          if (index < 0) return;
          const [message] = came.splice(index, 1);
          end(() => resolve(message as never));
        };
        const fail = (why: string) =>
          end(() => reject(new Error(`No "${kind}" from ${file}: ${why}.`)));
        const timer = setTimeout(() => fail(`not within ${withinMs} ms`), withinMs);
        waiting.add(look);
        look();
        void ended.then(() => fail("it ended"));
      });
    },
  };
}
