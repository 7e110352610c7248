/** The disk fills up for real, a small tmpfs, and then room is made. */

import { execFile, spawnSync } from "node:child_process";
import { rm, statfs, writeFile } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { temporaryFolder } from "../../../test/support/folder.ts";
import { monotonicMs } from "../clock.ts";
import { judge, least, skipped, type Verdict } from "../verdict.ts";
import { openWorld, type WorldOptions } from "../world.ts";

const run = promisify(execFile);
const diskBytes = 64 * 1024 * 1024;
const freeBytes = 1_500_000;
const name = "disk full";

export async function runDisk(options: WorldOptions): Promise<Verdict> {
  const temporary = temporaryFolder("express-credit-meter-disk-");
  const folder = temporary.path;
  try {
    await run("mount", ["-t", "tmpfs", "-o", `size=${diskBytes}`, "tmpfs", folder]);
  } catch {
    temporary.remove();
    return skipped(name, "a tmpfs cannot be mounted here; it takes root on Linux");
  }
  // Lazily: SQLite's files of this process are closed when its statements are collected.
  const leave = () => void spawnSync("umount", ["--lazy", folder]);
  // Before the folder goes.
  process.prependOnceListener("exit", leave);
  try {
    return await fill(folder, options);
  } finally {
    process.off("exit", leave);
    leave();
    temporary.remove();
  }
}

async function fill(folder: string, options: WorldOptions): Promise<Verdict> {
  const world = await openWorld({ ...options, folder });
  try {
    world.faults(true);
    const server = world.start(0);
    await server.ready;
    const filler = path.join(folder, "filler");
    const { bavail, bsize } = await statfs(folder);
    await writeFile(filler, Buffer.alloc(bavail * bsize - freeBytes));
    world.load(true);
    const refusal = await until(async () => {
      server.send({ kind: "health" });
      const { health } = await server.next("health");
      return health.accepting ? undefined : health;
    }, 20_000);
    options.report(`full: ${refusal?.problem ?? "nothing was refused"}`);
    await sleep(500);
    const refusedAt = world.whole();
    await rm(filler);
    const again = await until(async () => {
      server.send({ kind: "health" });
      const { health } = await server.next("health");
      return health.accepting || undefined;
    }, 10_000);
    options.report(`room was made, ${refusedAt} responses until then`);
    await world.served(200);
    const settled = await world.settle(60_000);
    const { comparison } = settled;
    return judge(name, settled, world, {
      rules: [
        least("refusals while the disk was full", refusal ? comparison.refused : 0, 1),
        least("health says what is wrong", refusal?.problem ? 1 : 0, 1),
        least("accepts again once there is room", again ? 1 : 0, 1),
      ],
      figures: { "refused with 503": comparison.refused },
    });
  } finally {
    await world.close();
  }
}

async function until<Value>(
  ask: () => Promise<Value | undefined>,
  withinMs: number,
): Promise<Value | undefined> {
  const began = monotonicMs();
  while (monotonicMs() - began < withinMs) {
    const value = await ask();
    if (value !== undefined) return value;
    await sleep(20);
  }
  return undefined;
}
