import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { BroadcastChannel } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { openSqliteJournal } from "../../src/journal/sqlite.ts";
import { createLedger, type Ledger } from "../../src/ledger/index.ts";
import { openDoor } from "../../src/open-door.ts";
import { readOptions } from "../../src/options.ts";
import type { Door, Health, Outcome } from "../../src/redeemer/door.ts";
import { openThread } from "../../src/redeemer/thread.ts";
import { createReport } from "../../src/report.ts";
import { keepLines } from "../support/api.ts";
import { build, holder, key, plan, settingsOf, submissionsOf } from "./thread-world.ts";

let built: URL;
let remove: () => void;
beforeAll(() => {
  ({ built, remove } = build());
});
afterAll(() => remove());

const mortal = new URL("./mortal-worker.mjs", import.meta.url);
const missing = new URL("./there-is-no-such-file.mjs", import.meta.url);
const child = fileURLToPath(new URL("./thread-child.mjs", import.meta.url));

const idsOf = (count: number) => Array.from({ length: count }, () => randomUUID());

/** The name of a journal's file that is there until the test ends. */
function journalFile() {
  const folder = mkdtempSync(path.join(tmpdir(), "credit-meter-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return path.join(folder, "journal.db");
}

async function openLedger() {
  const ledger = await createLedger({ keys: [key] });
  onTestFinished(() => ledger.close());
  ledger.mint({ planId: plan, holderAddress: holder, amount: 100_000 });
  return ledger;
}

const burned = (ledger: Ledger) =>
  ledger.burns().map(({ idempotencyKey }) => String(idempotencyKey));

/** A door to a thread, and what has come out of it. */
function open(
  file: string,
  baseUrl: string,
  { from = mortal, name = randomUUID() as string } = {},
) {
  const told: Outcome[] = [];
  const deaths: (Error | undefined)[] = [];
  const waiting = new Set<() => void>();
  const heard = () => {
    for (const check of waiting) check();
  };
  const door = openThread({
    file: from,
    settings: { ...settingsOf(file, baseUrl), name, built: built.href },
    exitWaitMs: 1_000,
    tell(outcome) {
      told.push(outcome);
      heard();
    },
    onDeath(error) {
      deaths.push(error);
      heard();
    },
  });
  const channel = new BroadcastChannel(name);
  onTestFinished(async () => {
    channel.close();
    await stop(door);
  });
  return {
    door,
    told,
    deaths,
    kill: (how: string) => channel.postMessage(how),
    accepted: () => told.flatMap((one) => (one.kind === "accepted" ? one.redemptionIds : [])),
    health: (): Health | undefined => told.findLast((one) => one.kind === "health")?.health,
    /** Ids by the last status that was told of them. */
    ended: () =>
      new Map(
        told.flatMap((one) =>
          one.kind === "changes"
            ? one.changes.map(({ redemptionId, change }) => [redemptionId, change.status])
            : [],
        ) as [string, string][],
      ),
    until: (condition: () => boolean) =>
      new Promise<void>((resolve) => {
        const check = () => {
          if (!condition()) return;
          waiting.delete(check);
          resolve();
        };
        waiting.add(check);
        check();
      }),
  };
}

/** A second stop is refused, and is no failure of the test. */
const stop = (door: Door) => door.ask("stop", {}).catch(() => undefined);

/** Reads the journal when all have left it. */
async function read(file: string, ids: readonly string[]) {
  const journal = openSqliteJournal(file);
  const records = await journal.read(ids);
  await journal.close("reader");
  return records;
}

describe("the thread", () => {
  test("acknowledges, charges once, and answers questions", async () => {
    const ledger = await openLedger();
    const file = journalFile();
    const { door, until, accepted, ended } = open(file, ledger.baseUrl, {
      from: new URL("worker.js", built),
    });
    const ids = idsOf(300);
    for (const submission of submissionsOf(ids)) door.submit([submission]);
    await until(() => [...ended().values()].filter((one) => one === "completed").length === 300);
    expect(accepted().toSorted()).toEqual(ids.toSorted());
    expect(burned(ledger).toSorted()).toEqual(ids.toSorted());
    expect(await door.ask("totals", {})).toMatchObject({ pending: 0, sending: 0 });
    expect(await door.ask("read", { redemptionIds: ids.slice(0, 1) })).toMatchObject([
      { redemptionId: ids[0], status: "completed" },
    ]);
  });

  test("passes on what an answer failed of", async () => {
    const { door, until, accepted } = open(journalFile(), "http://127.0.0.1:9/api");
    const [id = ""] = idsOf(1);
    const error = { code: "price-error", reason: "price-error", message: "NaN" };
    door.submit(
      submissionsOf([id]).map((one) => ({ ...one, status: "unresolved", amount: null, error })),
    );
    await until(() => accepted().length === 1);
    const supply = { redemptionId: id, act: "supply", amount: -1, by: "ada", note: null } as const;
    await expect(door.ask("act", supply)).rejects.toThrow("breaks the ledger's contract");
  });

  test.each(["exit", "an uncaught error"])(
    "that dies (%s) in mid-work is started again: nothing is lost or doubled",
    async (how) => {
      const ledger = await openLedger();
      const file = journalFile();
      const { door, until, accepted, ended, kill, deaths } = open(file, ledger.baseUrl);
      const ids = idsOf(400);
      const [first, rest] = [ids.slice(0, 100), ids.slice(100)];
      ledger.failNext("hang-after-applying", { times: 4 });
      door.submit(submissionsOf(first));
      await ledger.hanging(4);
      // Four are on the wire, applied, and will never be answered. The others are handed over while
      // nobody is there to take them.
      kill(how);
      await until(() => deaths.length === 1);
      for (const submission of submissionsOf(rest)) door.submit([submission]);
      const asked = door.ask("read", { redemptionIds: ids.slice(0, 1) });
      await until(() => accepted().length === 400 && ended().size >= 396);
      expect(await asked).toHaveLength(1);
      const { totals } = await untilIdle(door);
      expect(totals).toMatchObject({ pending: 0, sending: 0, unresolved: 4 });
      expect(burned(ledger).toSorted()).toEqual(ids.toSorted());
      expect(new Set(accepted()).size).toBe(400);
      expect(how === "exit" ? undefined : how).toBe(deaths[0]?.message);
      await stop(door);
      const records = await read(file, ids);
      expect(records.filter(({ status }) => status === "completed")).toHaveLength(396);
    },
  );

  test("that cannot start is told of, tried again, and makes good what waited", async () => {
    const ledger = await openLedger();
    const file = journalFile();
    mkdirSync(file);
    const { door, until, health, deaths, ended } = open(file, ledger.baseUrl);
    const ids = idsOf(3);
    door.submit(submissionsOf(ids));
    await until(() => health()?.writable === false);
    expect(health()?.problem).toContain("The thread that writes the journal ends again and again");
    // Health tells of the others.
    expect(deaths).toHaveLength(1);
    rmSync(file, { recursive: true });
    await until(() => [...ended().values()].filter((one) => one === "completed").length === 3);
    expect(health()).toMatchObject({ writable: true, problem: null });
    expect(burned(ledger).toSorted()).toEqual(ids.toSorted());
  });

  test("that cannot start does not keep a stop from ending; what was asked is refused", async () => {
    const { door, deaths } = open(journalFile(), "http://127.0.0.1:9", { from: missing });
    door.submit(submissionsOf(idsOf(3)));
    const asked = door.ask("totals", {}).catch((error: Error) => error.message);
    expect(await door.ask("stop", {})).toBeUndefined();
    expect(await asked).toMatch(/^The thread that writes the journal ends again and again/);
    expect(deaths).toHaveLength(1);
    await expect(door.ask("totals", {})).rejects.toThrow("The meter is closed.");
  });

  test("stops, and refuses what is asked later", async () => {
    const { door, deaths } = open(journalFile(), "http://127.0.0.1:9");
    expect(await door.ask("stop", {})).toBeUndefined();
    await expect(door.ask("stop", {})).rejects.toThrow("The meter is closed.");
    door.submit(submissionsOf(idsOf(1)));
    expect(deaths).toEqual([]);
  });

  test("two submissions of one redemption are two acknowledgements", async () => {
    const ledger = await openLedger();
    const { door, until, accepted, ended } = open(journalFile(), ledger.baseUrl);
    const ids = idsOf(1);
    const [pending] = submissionsOf(ids);
    if (!pending) throw new Error("none");
    door.submit([{ ...pending, status: "prepared", amount: null }, pending]);
    await until(() => [...ended().values()].includes("completed"));
    expect(accepted()).toEqual([...ids, ...ids]);
    expect(ledger.countBurns()).toBe(1);
  });

  test("two meters of one process share a journal, and neither sends what the other does", async () => {
    const ledger = await openLedger();
    const file = journalFile();
    const [one, other] = [open(file, ledger.baseUrl), open(file, ledger.baseUrl)];
    const ids = idsOf(400);
    one.door.submit(submissionsOf(ids.slice(0, 200)));
    other.door.submit(submissionsOf(ids.slice(200)));
    await one.until(() => one.accepted().length === 200);
    await other.until(() => other.accepted().length === 200);
    const { totals } = await untilIdle(one.door);
    expect(totals).toMatchObject({ pending: 0, sending: 0, unresolved: 0 });
    expect(burned(ledger).toSorted()).toEqual(ids.toSorted());
  });
});

/** Asks until nothing waits or is on the wire. */
async function untilIdle(door: Door) {
  for (;;) {
    const totals = await door.ask("totals", {});
    if (totals.pending === 0 && totals.sending === 0) return { totals };
  }
}

describe("a process with the thread", () => {
  /** Nobody listens there: charges stay pending, and are no reason for a process to stay. */
  const nowhere = "http://127.0.0.1:9/api/v1";

  async function run(
    what: string,
    file: string,
    {
      ids = [] as string[],
      from = new URL("worker.js", built),
      exitWaitMs = 10_000,
      more = {},
    } = {},
  ) {
    const settings = { ...settingsOf(file, nowhere), built: built.href, name: "none", ...more };
    const told = {
      plan: what,
      built: built.href,
      file: from.href,
      settings,
      submissions: submissionsOf(ids),
      exitWaitMs,
    };
    const started = spawn(process.execPath, [child], { stdio: ["pipe", "pipe", "pipe"] });
    onTestFinished(() => void started.kill("SIGKILL"));
    started.stdin.end(JSON.stringify(told));
    let output = "";
    let errors = "";
    started.stdout.on("data", (chunk) => {
      output += chunk;
    });
    started.stderr.on("data", (chunk) => {
      errors += chunk;
    });
    const [code] = await once(started, "close");
    const lines = output.split("\n").filter((line) => line !== "");
    return { code, errors, lines: lines.map((line) => JSON.parse(line)) };
  }

  test("ends by itself when nothing is unacknowledged", async () => {
    const file = journalFile();
    expect(await run("idle", file)).toMatchObject({ code: 0, lines: [] });
    const ids = idsOf(500);
    const { code, lines } = await run("submit", file, { ids });
    expect(code).toBe(0);
    expect(lines.reduce((sum, { accepted }) => sum + accepted, 0)).toBe(500);
    expect(await read(file, ids)).toHaveLength(500);
  });

  test("process.exit right after submitting loses nothing", async () => {
    const file = journalFile();
    const ids = idsOf(1_000);
    expect(await run("exit", file, { ids })).toMatchObject({ code: 0 });
    expect(await read(file, ids)).toHaveLength(1_000);
  });

  test("nor does an uncaught error", async () => {
    const file = journalFile();
    const ids = idsOf(1_000);
    const { code, errors } = await run("throw", file, { ids });
    expect(code).toBe(1);
    expect(errors).toContain("of the application");
    expect(await read(file, ids)).toHaveLength(1_000);
  });

  test("nor an exit while there is no thread: one is started for it", async () => {
    const file = journalFile();
    const ids = idsOf(10);
    const more = { diesAtFirst: true };
    const { code, lines } = await run("exit-without-thread", file, { ids, from: mortal, more });
    expect(code).toBe(0);
    expect(lines).toEqual([{ died: "the first one dies" }]);
    expect(await read(file, ids)).toHaveLength(10);
  });

  test("whose thread cannot start waits no longer for it than exitWaitMs, or than a stop", async () => {
    const file = journalFile();
    const ids = idsOf(3);
    const options = { ids, from: missing };
    expect(await run("exit", file, { ...options, exitWaitMs: 50 })).toMatchObject({ code: 0 });
    const { code, lines } = await run("stop-when-failing", file, options);
    expect(code).toBe(0);
    expect(lines.at(-1)).toBe("stopped");
  });
});

describe("the door", () => {
  function openWith(options: object, file?: URL) {
    const { lines, logger } = keepLines();
    const settings = readOptions(
      {
        apiKey: key,
        environment: { name: "embedded", baseUrl: "http://127.0.0.1:9/api/v1" },
        plans: [plan],
        logger,
        ...options,
      },
      {},
    );
    const told: Outcome[] = [];
    const door = openDoor(
      settings,
      createReport(logger, new Set()),
      (outcome) => told.push(outcome),
      file,
    );
    onTestFinished(() => stop(door).then(() => undefined));
    return { door, lines, told };
  }
  const isWarned = (lines: { level: string; message: string }[]) =>
    lines.some(({ level, message }) => level === "warn" && message.startsWith("The worker's file"));

  test("opens to a thread", async () => {
    const { door, lines } = openWith({ journal: journalFile() });
    expect(await door.ask("totals", {})).toMatchObject({ pending: 0 });
    expect(isWarned(lines)).toBe(false);
    expect(await door.ask("stop", {})).toBeUndefined();
    await expect(door.ask("totals", {})).rejects.toThrow("The meter is closed.");
  });

  test("opens in this thread, with a warning, where a bundler has lost the worker's file", async () => {
    const file = journalFile();
    const { door, lines } = openWith({ journal: file }, missing);
    expect(isWarned(lines)).toBe(true);
    const ids = idsOf(1);
    door.submit(submissionsOf(ids));
    await door.ask("stop", {});
    expect(await read(file, ids)).toHaveLength(1);
  });

  test("opens in this thread, without one, where that is wanted", async () => {
    const { door, lines } = openWith({ journal: "memory", inline: true }, missing);
    expect(isWarned(lines)).toBe(false);
    expect(await door.ask("stop", {})).toBeUndefined();
    expect(await door.ask("stop", {})).toBeUndefined();
  });
});
