/** A process that is stopped in the midst of a charge, a person who decides meanwhile, and what then happens. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { createNeverminedClient } from "../../src/client/nevermined.ts";
import { openPostgresJournal } from "../../src/journal/postgres.ts";
import { openSqliteJournal } from "../../src/journal/sqlite.ts";
import { createLedger } from "../../src/ledger/index.ts";
import type { Outcome } from "../../src/redeemer/door.ts";
import { createRedeemer } from "../../src/redeemer/redeemer.ts";
import { commit, entry } from "../journal/records.ts";
import { startPostgres, type TestPostgres } from "../support/postgres.ts";
import { deferred } from "../support/server.ts";
import { fastClocks } from "./fast-clocks.ts";
import { defaults, encode } from "./world.ts";

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startPostgres();
}, 60_000);
afterAll(() => postgres?.stop());

const holderAddress = `0x${"ab".repeat(20)}`;

/** @param when the process is stopped: before it writes its charge, or while it waits for the answer */
async function stopped(where: string, when: "before" | "after") {
  const folder = await mkdtemp(path.join(tmpdir(), "ghost-"));
  const place =
    where === "a file"
      ? path.join(folder, "journal.db")
      : { postgres: postgres.url, schema: `ghost_${when}` };
  const ledger = await createLedger({ idempotency: "ignore" });
  ledger.mint({ planId: "1059", holderAddress, amount: 100 });
  if (when === "after") ledger.failNext("hang-before-applying");
  const start = Date.now();
  const file = path.join(import.meta.dirname, "ghost-child.ts");
  const given = [JSON.stringify(place), ledger.baseUrl, String(start), when];
  const child = spawn(process.execPath, ["--import", "tsx", file, ...given], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines: (Outcome | { kind: "taken" } | { kind: "answer" })[] = [];
  const arrived = new Set<() => void>();
  createInterface({ input: child.stdout }).on("line", (line) => {
    lines.push(JSON.parse(line));
    for (const check of arrived) check();
  });
  /** Resolves when the process has told it. */
  const toldByGhost = (kind: string) =>
    new Promise<void>((resolve) => {
      const check = () => {
        if (lines.some((line) => line.kind === kind)) resolve();
      };
      arrived.add(check);
      check();
    });
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill("SIGKILL");
      await once(child, "exit");
    }
  });
  await toldByGhost("taken");
  if (when === "after") {
    await ledger.hanging();
    child.kill("SIGSTOP");
  }

  const { now, elapsed } = fastClocks(start);
  const journal = typeof place === "string" ? openSqliteJournal(place) : openPostgresJournal(place);
  const client = createNeverminedClient({
    baseUrl: ledger.baseUrl,
    redeemPath: "/protocol/plans/redeem",
    apiKey: ledger.key,
    connections: 4,
    timeoutMs: 30_000,
    honoursIds: false,
    now,
    elapsed,
  });
  const told: Outcome[] = [];
  let hear = () => {};
  const redeemer = createRedeemer({
    ...defaults,
    encode,
    journal,
    now,
    elapsed,
    send: client.redeem,
    askBalance: client.balance,
    end: client.close,
    tell(outcome) {
      told.push(outcome);
      hear();
    },
  });
  onTestFinished(async () => {
    await redeemer.ask("stop", {});
    await ledger.close();
    await rm(folder, { recursive: true, force: true });
  });
  await new Promise<void>((resolve) => {
    hear = () => {
      if (told.some((one) => one.kind === "recovered" && one.unresolved.length > 0)) resolve();
    };
    hear();
  });
  /** Insists, although an answer may still come. */
  const act = (what: "resend" | "fail") =>
    redeemer.ask("act", {
      ...{ redemptionId: "charge", act: what, amount: null, by: "ada", note: null },
      ...{ force: true },
    });
  return { ledger, child, lines, toldByGhost, redeemer, act };
}

describe.each(["a file", "PostgreSQL"])("a stopped process, with a journal in %s", (where) => {
  test("that wakes before its send sends nothing that a person had sent again", async () => {
    const { ledger, child, toldByGhost, redeemer, act } = await stopped(where, "before");
    expect(await act("resend")).toMatchObject({ status: "pending" });
    await expect.poll(() => ledger.countBurns(), { timeout: 10_000 }).toBe(1);
    child.kill("SIGCONT");
    await toldByGhost("answer");
    expect(ledger.countBurns()).toBe(1);
    const read = () => redeemer.ask("show", { redemptionId: "charge" });
    await expect.poll(async () => (await read())?.record.status).toBe("completed");
    expect((await read())?.acts.map(({ act }) => act)).toEqual(["resend"]);
  }, 40_000);

  test("whose answer comes after a person's decision has it written beside that", async () => {
    const { ledger, child, lines, toldByGhost, redeemer, act } = await stopped(where, "after");
    expect(await act("fail")).toMatchObject({ status: "failed" });
    await ledger.release();
    child.kill("SIGCONT");
    await toldByGhost("answer");
    expect(ledger.countBurns()).toBe(1);
    const show = () => redeemer.ask("show", { redemptionId: "charge" });
    await expect
      .poll(async () => (await show())?.acts)
      .toMatchObject([
        { act: "fail", by: "ada" },
        { act: "answer", by: "ledger", amount: 3, note: expect.stringContaining("completed") },
      ]);
    expect((await show())?.record).toMatchObject({ status: "failed", error: { code: "operator" } });
    await toldByGhost("late-answer");
    expect(lines.filter(({ kind }) => String(kind) === "late-answer")).toHaveLength(1);
  }, 40_000);
});

test("a process whose clock is slow sends nothing again whose time is over by the database's", async () => {
  const place = { postgres: postgres.url, schema: "slow_clock" };
  const journal = openPostgresJournal(place);
  const minute = 60_000;
  const sentAt = Date.now() - 20 * minute;
  const { claimed } = await commit(journal, {
    ...{ owner: "before", now: sentAt },
    append: [entry("charge")],
    claim: { limit: 1, perHolder: 1 },
  });
  expect(claimed).toHaveLength(1);
  const told: Outcome[] = [];
  const recovered = deferred();
  const redeemer = createRedeemer({
    ...defaults,
    journal,
    replaces: ["before"],
    idempotentMs: 10 * minute,
    now: () => Date.now() - 60 * minute,
    send: () => new Promise(() => {}),
    tell(outcome) {
      told.push(outcome);
      if (outcome.kind === "recovered") recovered.resolve();
    },
  });
  onTestFinished(() => redeemer.ask("stop", {}));
  await recovered.promise;
  expect(told.find(({ kind }) => kind === "recovered")).toMatchObject({
    unresolved: ["charge"],
    resent: 0,
  });
});
