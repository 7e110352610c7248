/** How much of a CPU processes have used; from `/proc`, so on Linux only. */

import { readdirSync, readFileSync } from "node:fs";

/** USER_HZ, in which the kernel tells times to programs: 100 on all but ancient machines (proc(5)). */
const ticksPerSecond = 100;

interface Stat {
  readonly name: string;
  readonly parent: number;
  /** Of the process and its threads. */
  readonly cpuMs: number;
  /** Of its children that have ended. */
  readonly endedMs: number;
}

function statOf(pid: number | string): Stat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    const ms = (index: number) => (Number(fields[index]) * 1_000) / ticksPerSecond;
    return {
      name: text.slice(text.indexOf("(") + 1, text.lastIndexOf(")")),
      parent: Number(fields[1]),
      cpuMs: ms(11) + ms(12),
      endedMs: ms(13) + ms(14),
    };
  } catch {
    return undefined;
  }
}

/** Milliseconds that a process has used; undefined where that cannot be told. */
export function cpuOf(pid: number): number | undefined {
  return statOf(pid)?.cpuMs;
}

/**
 * Milliseconds that a PostgreSQL server has used: all of its processes, those that have ended too.
 * Undefined where it runs elsewhere.
 *
 * @param backend the process of any connection to it
 */
export function cpuOfPostgres(backend: number): number | undefined {
  const found = statOf(backend);
  if (!found?.name.startsWith("postgres")) return undefined;
  const main = statOf(found.parent);
  if (!main) return undefined;
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(statOf)
    .filter((stat) => stat?.parent === found.parent)
    .reduce((sum, stat) => sum + (stat?.cpuMs ?? 0), main.cpuMs + main.endedMs);
}

/** Milliseconds of all CPUs that anything has used; undefined where that cannot be told. */
export function cpuOfAll(): number | undefined {
  try {
    const [line = ""] = readFileSync("/proc/stat", "utf8").split("\n");
    // In the order of proc(5); what follows is contained in these.
    const [, user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = line
      .split(/\s+/)
      .map(Number);
    return ((user + nice + system + irq + softirq + steal) * 1_000) / ticksPerSecond;
  } catch {
    return undefined;
  }
}
