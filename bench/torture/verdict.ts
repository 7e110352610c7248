/** The rules that every run is judged by. Pure. */

import type { Lost } from "./compare.ts";
import type { Settled, World, WorldOptions } from "./world.ts";

export interface Rule {
  readonly rule: string;
  readonly ok: boolean;
  /** What was found; short. */
  readonly found: string;
}

export interface Verdict {
  readonly scenario: string;
  readonly ok: boolean;
  readonly rules: readonly Rule[];
  /** What the table shows. */
  readonly figures: Readonly<Record<string, string | number>>;
}

/** Records that one kill may cost in default mode, as promised. */
const mostLost = 256;

/**
 * How old the oldest of them may be. The promise is the 5 ms of the group commit; on top come the
 * disk's own commit and whatever else the machine runs: on two cores, everything here.
 */
const defaultOldestLostMs = 1_000;

/** Milliseconds after which a server has loaded and compiled what it needs. */
const warmMs = 2_000;

export function judge(
  scenario: string,
  settled: Settled,
  world: Pick<World, "options" | "deaths" | "concurrency">,
  more: {
    rules?: readonly Rule[];
    figures?: Verdict["figures"];
    /** How often a server could be taken for dead that was not. */
    stops?: number;
  } = {},
): Verdict {
  const { options } = world;
  const { comparison: seen } = settled;
  const ownerGone = countOf(seen.unresolved, "answer-lost OWNER_GONE");
  const unconfirmed = countOf(seen.unresolved, "delivery-unconfirmed delivery-unconfirmed");
  const others = (seen.settled.unresolved ?? 0) - ownerGone - unconfirmed;
  const onWire = world.deaths.reduce((sum, { sending }) => sum + sending.length, 0);
  const fleet = options.processes > 1;
  // In a fleet there may still be some of one that died before.
  const mostOnWire = Math.max(
    0,
    ...world.deaths.map(({ sending, own }) => (fleet ? own : sending).length),
  );
  const rules: Rule[] = [
    none("no id was burned twice", seen.doubled),
    none("no request was burned twice", seen.doubledRequests),
    none("nothing was burned that was not delivered or about to be", seen.burnedForNothing),
    none("every burn has a record", seen.burnedWithoutRecord),
    none("amounts agree", seen.amountsDiffer),
    none("completed has one burn, failed and skipped none, unresolved at most one", [
      ...seen.contradictions,
    ]),
    none("every delivered response is charged, refused or listed", seen.deliveredUncharged),
    most("nothing waits in the end", settled.waiting, 0),
    most("servers whose flush() waits for what is settled", settled.unflushed, 0),
    none("redemptions of whose outcome a server never heard", settled.unheard),
    most("at each death no more on the wire than allowed", mostOnWire, world.concurrency),
    ...(fleet
      ? // The other process may take over before this one looks.
        [
          most(
            "unresolved by deaths and stops",
            ownerGone,
            (world.deaths.length + (more.stops ?? 0)) * world.concurrency,
          ),
        ]
      : [
          none("only what was on the wire at a death is unresolved by it", seen.ownerGoneUnseen),
          most("no more unresolved by deaths than were on the wire then", ownerGone, onWire),
        ]),
    // A clock that jumps past the ledger's window makes it unknown whether an id is honoured still.
    options.ledger === "honour" && !options.settableClock
      ? most("no other is unresolved where the ledger honours ids", others, 0)
      : most("no more others unresolved than the ledger left open", others, settled.leftOpen),
    ...lostRules(seen.lost, options),
    none("no warnings of Node", settled.warnings),
    ...(more.rules ?? []),
  ];
  return {
    scenario,
    ok: rules.every(({ ok }) => ok),
    rules,
    figures: { ...more.figures, ...figuresOf(settled) },
  };
}

function lostRules(lost: readonly Lost[], options: WorldOptions): Rule[] {
  const { durability, oldestLostMs = defaultOldestLostMs } = options;
  if (durability === "strict") return [none("no delivered response lacks a record", idsOf(lost))];
  const killed = lost.filter(({ how }) => how === "kill");
  const perLife = new Map<number, number>();
  for (const { life } of killed) perLife.set(life, (perLife.get(life) ?? 0) + 1);
  const oldest = Math.max(0, ...killed.map(({ ageMs }) => ageMs));
  return [
    none("nothing is lost but by SIGKILL", idsOf(lost.filter(({ how }) => how !== "kill"))),
    most("records lost by one kill", Math.max(0, ...perLife.values()), mostLost),
    most("age in ms of the oldest lost record at its kill", round(oldest), oldestLostMs),
    none("only the newest are lost", idsOf(killed.filter(({ overtakenBy }) => overtakenBy > 0))),
  ];
}

function figuresOf({ comparison: seen, settledAfterMs }: Settled): Record<string, string | number> {
  const killed = seen.lost.filter(({ how }) => how === "kill");
  return {
    requests: seen.requests,
    "delivered whole": seen.delivered,
    "cut off": seen.cut,
    "free (4xx, 5xx)": seen.free,
    records: seen.records,
    burned: seen.burned,
    "burned, client was cut off": seen.burnedButCut,
    "burned for nothing": seen.burnedForNothing.length,
    doubled: seen.doubled.length + seen.doubledRequests.length,
    lost: seen.lost.length,
    "age of lost at the kill, ms": agesOf(killed.filter(({ livedMs }) => livedMs >= warmMs)),
    "… of servers younger than 2 s": agesOf(killed.filter(({ livedMs }) => livedMs < warmMs)),
    settled: words(seen.settled),
    unresolved: words(seen.unresolved) || "none",
    "settled after the load, s": round(settledAfterMs / 1_000),
  };
}

function agesOf(lost: readonly Lost[]): string {
  const ages = lost.map(({ ageMs }) => ageMs).sort((a, b) => a - b);
  if (ages.length === 0) return "none lost";
  const at = (share: number) => round(ages[Math.floor(share * (ages.length - 1))] ?? 0);
  return `${ages.length} lost: p50 ${at(0.5)}, p90 ${at(0.9)}, max ${at(1)}`;
}

/** A rule that a number keeps to a limit. */
export function most(rule: string, value: number, limit: number): Rule {
  return { rule, ok: value <= limit, found: `${value} of at most ${limit}` };
}

/** A rule that a number reaches at least something: where it does not, the run proves nothing. */
export function least(rule: string, value: number, limit: number): Rule {
  return { rule, ok: value >= limit, found: `${value} of at least ${limit}` };
}

/** A rule that there is none of a kind. */
export function none(rule: string, found: readonly (string | number)[]): Rule {
  const some = found.slice(0, 5).join("; ");
  return {
    rule,
    ok: found.length === 0,
    found: found.length === 0 ? "none" : `${found.length}: ${some}`,
  };
}

export function words(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .sort(([, a], [, b]) => b - a)
    .map(([word, count]) => `${count} ${word}`)
    .join(", ");
}

export function round(value: number): number {
  return Math.round(value * 10) / 10;
}

/** The verdict of a scenario that this machine cannot run. */
export function skipped(scenario: string, why: string): Verdict {
  return { scenario, ok: true, rules: [], figures: { skipped: why } };
}

function countOf(counts: Readonly<Record<string, number>>, word: string): number {
  return counts[word] ?? 0;
}

function idsOf(lost: readonly Lost[]): string[] {
  return lost.map(({ redemptionId, ageMs }) => `${redemptionId} (${round(ageMs)} ms)`);
}
