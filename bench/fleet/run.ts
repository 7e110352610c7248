/** One run: so many processes do a part at the same time, on a schema of their own. */

import path from "node:path";
import { type Child, startChild } from "../torture/child.ts";
import { cpuOf, cpuOfAll } from "./cpu.ts";
import type { Database, Sizes } from "./database.ts";
import type { FromMember, MemberSettings, Part, ToMember } from "./messages.ts";

export interface RunOptions {
  readonly part: Part;
  readonly processes: number;
  readonly ms: number;
  readonly redemptions: number;
  readonly concurrency: number;
  readonly database: Database;
  readonly ledger: { readonly pid: number; readonly baseUrl: string; readonly key: string };
}

export interface Measured {
  readonly perSecond: number;
  /** CPUs, 1 is one of them: of each process in the median, and of the others. */
  readonly process: number;
  readonly postgres: number | null;
  readonly ledger: number;
  /** Programs that do not belong to the bench. */
  readonly others: number | null;
  /** Microseconds of a CPU for each: of all processes, and of PostgreSQL. */
  readonly processMicroseconds: number;
  readonly postgresMicroseconds: number | null;
  /** Of write-ahead log, for each. */
  readonly walBytes: number;
  /** Of redemptions only. */
  readonly sizes: Sizes | null;
}

export const childOptions = {
  preload: import.meta.resolve("tsx"),
  env: { TSX_TSCONFIG_PATH: path.resolve(import.meta.dirname, "../../tsconfig.build.json") },
  onLine: (line: string) => void process.stderr.write(`${line}\n`),
};

type Member = Child<ToMember, FromMember>;

let schemas = 0;

export async function run(options: RunOptions): Promise<Measured> {
  const { part, processes, database, ledger } = options;
  schemas += 1;
  const schema = `fleet_bench_${process.pid}_${schemas}`;
  const settings: MemberSettings = {
    part,
    url: database.url,
    schema,
    ms: options.ms,
    redemptions: Math.ceil(options.redemptions / processes),
    warmUp: Math.ceil(options.redemptions / processes / 8),
    concurrency: options.concurrency,
    ledger: { baseUrl: ledger.baseUrl, key: ledger.key },
  };
  const file = path.join(import.meta.dirname, "member.ts");
  const members = Array.from({ length: processes }, () =>
    startChild<ToMember, FromMember>(file, settings, childOptions),
  );
  try {
    await Promise.all(members.map((member) => member.next("ready", 120_000)));
    const wal = await database.walBytes();
    const used = () => ({
      all: cpuOfAll() ?? 0,
      postgres: database.cpuMs() ?? null,
      ledger: cpuOf(ledger.pid) ?? 0,
    });
    const before = used();
    const began = performance.now();
    for (const member of members) member.send({ kind: "go" });
    if (part === "redemptions") {
      await allSettled(members, (settings.redemptions + settings.warmUp) * processes);
    }
    const seconds = (performance.now() - began) / 1_000;
    const measured = await Promise.all(members.map((member) => member.next("measured", 120_000)));
    const after = used();
    const allMs = part === "redemptions" ? seconds * 1_000 : performance.now() - began;
    const walBytes = (await database.walBytes()) - wal;
    for (const member of members) member.send({ kind: "close" });
    await Promise.all(members.map(({ ended }) => ended));

    const count = measured.reduce((sum, one) => sum + one.count, 0);
    const cpuMs = measured.reduce((sum, one) => sum + one.cpuMs, 0);
    const postgresMs =
      after.postgres === null || before.postgres === null ? null : after.postgres - before.postgres;
    const ledgerMs = after.ledger - before.ledger;
    const allCpuMs = after.all - before.all;
    return {
      perSecond: measured.reduce((sum, one) => sum + (one.count / one.ms) * 1_000, 0),
      process: median(measured.map((one) => one.cpuMs / one.ms)),
      postgres: postgresMs === null ? null : postgresMs / allMs,
      ledger: ledgerMs / allMs,
      others:
        postgresMs === null ? null : Math.max(0, allCpuMs - cpuMs - postgresMs - ledgerMs) / allMs,
      processMicroseconds: (cpuMs * 1_000) / count,
      postgresMicroseconds: postgresMs === null ? null : (postgresMs * 1_000) / count,
      walBytes: walBytes / count,
      sizes: part === "redemptions" ? await database.sizes(schema) : null,
    };
  } finally {
    for (const member of members) member.kill();
    await database.drop(schema);
  }
}

/** Waits until so many charges are settled, and asks for what was used until then. */
async function allSettled(members: readonly Member[], redemptions: number) {
  let settled = 0;
  await new Promise<void>((resolve, reject) => {
    async function count(member: Member) {
      while (settled < redemptions) {
        const { count } = await member.next("settled", 120_000);
        settled += count;
      }
      resolve();
    }
    // Those that have settled nothing more end by the end of their process, when it matters no more.
    for (const member of members) count(member).catch(reject);
  });
  for (const member of members) member.send({ kind: "measure" });
}

export function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[numbers.length >> 1] ?? 0;
}
