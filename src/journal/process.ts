/** Whether a process of this machine has ended. */

import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";

/**
 * Names this process so that another one on the same machine can tell whether it has ended: the
 * machine since its last start, the space of process ids (containers have their own), the id.
 */
export function thisProcess(): string {
  return `${space()} ${process.pid} ${startOf(process.pid) ?? ""}`;
}

/** True only if it is certain: a process elsewhere, or behind another container's wall, is not. */
export function hasEnded(name: string): boolean {
  const [itsSpace, pid, start] = name.split(" ");
  if (itsSpace !== space() || pid === undefined) return false;
  try {
    process.kill(Number(pid), 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH";
  }
  // The id may belong to another process by now.
  const now = startOf(Number(pid));
  return start !== "" && now !== undefined && now !== start;
}

let known: string | undefined;

function space(): string {
  known ??= [
    hostname(),
    attempt(() => readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()),
    attempt(() => readlinkSync("/proc/self/ns/pid")),
  ]
    .join("/")
    .replaceAll(" ", "_");
  return known;
}

/**
 * When a process started, in ticks since the machine did: field 22 of `/proc/<pid>/stat` (proc(5)).
 * One that has ended and that its parent has not waited for yet (a zombie) has no start any more.
 */
function startOf(pid: number): string | undefined {
  const stat = attempt(() => readFileSync(`/proc/${pid}/stat`, "utf8"));
  const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields?.[0] === "Z" ? "ended" : fields?.[19];
}

function attempt<Value>(read: () => Value): Value | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
