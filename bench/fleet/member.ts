/** One process of the fleet: does its part from `go` on, and tells what it did. */

import { randomUUID } from "node:crypto";
import { once } from "node:events";
import type { EngineSettings } from "../../dist/engine.js";
import type { Journal } from "../../dist/journal/journal.js";
import { openPostgresJournal } from "../../dist/journal/postgres.js";
import type { Outcome } from "../../dist/redeemer/door.js";
import { openThread } from "../../dist/redeemer/thread.js";
import { anyHolder, entry, holders, holdOf, submission } from "../charges.ts";
import type { FromMember, MemberSettings, Part, ToMember } from "./messages.ts";

const settings = JSON.parse(process.argv[2] ?? "") as MemberSettings;
const { url: postgres, schema } = settings;
const tell = (message: FromMember) => process.send?.(message);
process.once("disconnect", () => process.exit());

async function told(kind: ToMember["kind"]): Promise<void> {
  for (;;) {
    const [message] = (await once(process, "message")) as [ToMember];
    if (message.kind === kind) return;
  }
}

/** Milliseconds of a CPU that this process and its threads have used. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}

/** Records of one commit, as many as the redeemer puts together. */
const batchRecords = 256;
/** Holds that are asked for together: of requests that came while the question before was under way. */
const holdsTogether = 32;
/** Turns before it counts: connections, plans, compiled code. */
const warmUp = 20;

/** Does one after the other for a while, as the redeemer does, and counts. */
async function timed(turn: (journal: Journal, owner: string) => Promise<number>) {
  const journal = openPostgresJournal({ postgres, schema });
  const owner = randomUUID();
  for (let index = 0; index < warmUp; index += 1) await turn(journal, owner);
  tell({ kind: "ready" });
  await told("go");
  const [began, cpuBefore] = [performance.now(), cpuMs()];
  let count = 0;
  while (performance.now() - began < settings.ms) count += await turn(journal, owner);
  tell({
    kind: "measured",
    count,
    ms: performance.now() - began,
    cpuMs: cpuMs() - cpuBefore,
  });
  await told("close");
  await journal.close(owner);
}

async function append(journal: Journal, owner: string): Promise<number> {
  const append = Array.from({ length: batchRecords }, () => entry(anyHolder()));
  await journal.commit({ owner, now: Date.now(), append, settle: [] });
  return batchRecords;
}

/** Each hold is given back: a table of holds that only grows is none that there would be. */
const hold =
  (together: number, holder: () => string) => async (journal: Journal, owner: string) => {
    const asked = Array.from({ length: together }, () => holdOf(randomUUID(), holder()));
    const answers = await journal.hold(owner, asked);
    if (!answers.every(({ isHeld }) => isHeld)) throw new Error("A hold was refused.");
    await journal.release(asked.map(({ redemptionId }) => redemptionId));
    return together;
  };

/** Requests under way at once, from their hold until their record is durable. */
const underWayAtOnce = 128;
/** Milliseconds between two reports of what was settled. */
const tellMs = 20;

/** The engine in its worker thread, as a meter has it: each request takes a hold and hands a charge over. */
async function redeem() {
  let settled = 0;
  let accepted = 0;
  const listening = { onOpen: () => {}, onAccepted: () => {} };
  const opened = new Promise<void>((resolve) => {
    listening.onOpen = resolve;
  });
  const learn = (outcome: Outcome) => {
    if (outcome.kind === "recovered") listening.onOpen();
    if (outcome.kind === "accepted") {
      accepted += outcome.redemptionIds.length;
      listening.onAccepted();
    }
    // What other processes settled comes as "changed", and is counted there.
    if (outcome.kind === "changes") {
      settled += outcome.changes.filter(({ change }) => change.status === "completed").length;
    }
  };
  const engine: EngineSettings = {
    journal: { postgres, schema },
    baseUrl: settings.ledger.baseUrl,
    redeemPath: "/protocol/plans/redeem",
    apiKey: settings.ledger.key,
    timeoutMs: 30_000,
    concurrency: settings.concurrency,
    perHolder: 4,
    protocol: "plans",
    maxQuestions: 8,
    backoff: { baseMs: 250, maxMs: 30_000 },
    circuitThreshold: 5,
    idempotentMs: null,
    retentionMs: 90 * 86_400_000,
  };
  const door = openThread({
    file: new URL("../../dist/worker.js", import.meta.url),
    settings: engine,
    tell: learn,
    exitWaitMs: 0,
    onDeath: (error) => {
      throw error ?? new Error("The thread ended.");
    },
  });
  await opened;

  async function send(count: number) {
    const until = accepted + count;
    let begun = accepted;
    while (accepted < until) {
      while (begun < until && begun - accepted < underWayAtOnce) {
        begun += 1;
        void request();
      }
      await new Promise<void>((resolve) => {
        listening.onAccepted = resolve;
      });
    }
  }
  async function request() {
    const [redemptionId, holder] = [randomUUID(), anyHolder()];
    const { isHeld } = await door.ask("hold", holdOf(redemptionId, holder));
    if (!isHeld) throw new Error("A hold was refused.");
    door.submit([submission(holder, redemptionId)]);
  }

  let toldOf = 0;
  const teller = setInterval(() => {
    if (settled === toldOf) return;
    tell({ kind: "settled", count: settled - toldOf });
    toldOf = settled;
  }, tellMs);
  await send(settings.warmUp);
  tell({ kind: "ready" });
  await told("go");
  const [began, cpuBefore, settledBefore] = [performance.now(), cpuMs(), settled];
  void send(settings.redemptions);
  await told("measure");
  const ms = performance.now() - began;
  tell({ kind: "measured", count: settled - settledBefore, ms, cpuMs: cpuMs() - cpuBefore });
  await told("close");
  clearInterval(teller);
  await door.ask("stop", {});
}

const parts: Record<Part, () => Promise<void>> = {
  appends: () => timed(append),
  "holds one by one": () => timed(hold(1, anyHolder)),
  holds: () => timed(hold(holdsTogether, anyHolder)),
  "holds of one holder": () => timed(hold(holdsTogether, () => holders[0] ?? "")),
  redemptions: redeem,
};
await parts[settings.part]();
process.disconnect();
