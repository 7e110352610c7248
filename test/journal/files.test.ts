/** What becomes of a journal whose files somebody copies, deletes, replaces or mounts. */

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  copyFileSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { copyFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import Database from "libsql";
import request from "supertest";
import { describe, expect, onTestFinished, test } from "vitest";
import { findPlace } from "../../src/journal/place.ts";
import { openSqliteJournal } from "../../src/journal/sqlite.ts";
import { meteredApi, payment } from "../support/api.ts";
import { answers, claim, commit, entry, everything, settle, statusOf } from "./records.ts";

function temporaryFolder() {
  const folder = mkdtempSync(path.join(tmpdir(), "journal-files-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function openFile(file = path.join(temporaryFolder(), "data/journal.db")) {
  mkdirSync(path.dirname(file), { recursive: true });
  const journal = openSqliteJournal(file);
  onTestFinished(() => journal.close("one").catch(() => {}));
  return { journal, file };
}

const ends = ["", "-wal", "-shm"];
const inodes = (file: string) => ends.map((end) => statSync(file + end).ino);

/** Runs `child.ts` until the test ends or it does. */
function startChild(...args: string[]) {
  const script = path.join(import.meta.dirname, "child.ts");
  const child = spawn(process.execPath, ["--import", "tsx", script, ...args], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  return { child, lines: createInterface({ input: child.stdout })[Symbol.asyncIterator]() };
}

/** Another process opens the file, writes a record, closes it and ends. */
async function visit(file: string, name: string) {
  const { child } = startChild("visit", file, name);
  const [code] = await once(child, "exit");
  expect(code).toBe(0);
}

function mounted(what: string, where: string): boolean {
  try {
    execFileSync("mount", ["--bind", what, where], { stdio: "ignore" });
  } catch {
    return false;
  }
  onTestFinished(() => {
    execFileSync("umount", ["-l", where]);
  });
  return true;
}
const noMount = "This user cannot mount a file.";

const refused = (message: RegExp) =>
  expect.objectContaining({ code: "journal-unusable", message: expect.stringMatching(message) });

describe("a journal's place is refused", () => {
  test("where its file has a second name", () => {
    const file = path.join(temporaryFolder(), "journal.db");
    writeFileSync(file, "");
    linkSync(file, path.join(temporaryFolder(), "other.db"));
    expect(() => findPlace(file)).toThrow(refused(/2 names/));
  });

  test.for(ends)("where a file of its own is mounted without its folder: %j", (end, { skip }) => {
    const file = path.join(temporaryFolder(), "my journal.db");
    const outside = path.join(temporaryFolder(), "outside.db");
    for (const one of [outside, file, file + end]) writeFileSync(one, "");
    if (!mounted(outside, file + end)) return skip(noMount);
    expect(() => findPlace(file)).toThrow(refused(/mounted without its folder/));
  });
});

describe("a journal's log", () => {
  test("stays when another process closes, although a copy has dropped our lock", async () => {
    const { journal, file } = openFile();
    await commit(journal, { append: [entry("a")] });
    const before = inodes(file);
    // POSIX: to close any descriptor of a file drops all locks that the process has on it.
    copyFileSync(file, `${file}-copy`);
    await visit(file, "visitor");
    expect(inodes(file)).toEqual(before);
    await commit(journal, { append: [entry("b")] });
    await visit(file, "second");
    const ids = (await everything(journal)).map(({ redemptionId }) => redemptionId);
    expect(ids.sort()).toEqual(["a", "b", "second", "visitor"]);
  });

  test("stays when the process ends that was the last on it", async () => {
    const file = path.join(temporaryFolder(), "journal.db");
    await visit(file, "first");
    const before = inodes(file);
    await visit(file, "visitor");
    expect(inodes(file)).toEqual(before);
  });
});

test("a program that reads the journal for an hour delays nothing, and the log is emptied after it", {
  // Far less than the ten seconds for which SQLite was told to wait.
  timeout: 8_000,
}, async () => {
  const { journal, file } = openFile();
  await commit(journal, { append: [entry("a")] });
  const reader = new Database(file);
  reader.exec("begin");
  expect(reader.prepare("select redemption_id from redemptions").all()).toHaveLength(1);
  await commit(journal, { append: [entry("b")] });
  await journal.tidy();
  const other = openFile(file).journal;
  await commit(other, { append: [entry("c")] });
  await other.close("one");
  expect(statSync(`${file}-wal`).size).toBeGreaterThan(0);
  reader.exec("commit");
  await journal.tidy();
  expect(statSync(`${file}-wal`).size).toBe(0);
});

describe("a journal whose files are taken away", () => {
  /** One record in each of the states that matter when it is written anew. */
  async function filled() {
    const opened = openFile();
    const { journal } = opened;
    await commit(journal, { append: [entry("completed"), entry("sending")] });
    const taken = await claim(journal, { claim: { limit: 2, perHolder: 9 } });
    const done = taken.find(({ redemptionId }) => redemptionId === "completed");
    if (!done) throw new Error("It was not taken.");
    await settle(journal, done, answers.completed);
    await commit(journal, { append: [entry("pending")] });
    return opened;
  }

  const states = {
    completed: "completed",
    sending: "sending",
    pending: "pending",
    later: "pending",
  };

  const troubles: readonly [string, (file: string) => void][] = [
    ["the folder is deleted", (file) => rmSync(path.dirname(file), { recursive: true })],
    ["the file is deleted", (file) => rmSync(file)],
    ["the log is deleted", (file) => rmSync(`${file}-wal`)],
    ["the index is deleted", (file) => rmSync(`${file}-shm`)],
    ["log and index are deleted", (file) => ends.slice(1).map((end) => rmSync(file + end))],
    [
      "another file is put in its place",
      (file) => {
        for (const end of ends) rmSync(file + end);
        writeFileSync(file, "");
      },
    ],
    [
      "an older copy is put in its place",
      (file) => {
        renameSync(path.dirname(file), `${path.dirname(file)}-old`);
        mkdirSync(path.dirname(file));
        const older = openSqliteJournal(file);
        void older.commit({ owner: "two", now: 1, append: [entry("pending")], settle: [] });
      },
    ],
  ];

  test.fails.each(troubles)(
    "notices, says why, and writes all that it had anew: %s",
    async (_name, make) => {
      const { journal, file } = await filled();
      make(file);
      const append = [entry("later")];
      await expect(commit(journal, { append })).rejects.toThrow(/deleted|replaced/);
      await expect
        .poll(() =>
          commit(journal, { append }).then(
            () => true,
            () => false,
          ),
        )
        .toBe(true);
      const records = await everything(journal);
      expect(Object.fromEntries(records.map((one) => [one.redemptionId, one.status]))).toEqual(
        states,
      );
      // And so does whoever opens what lies there now.
      const { journal: again } = openFile(file);
      for (const [id, status] of Object.entries(states))
        expect(await statusOf(again, id)).toBe(status);
      expect(readdirSync(path.dirname(file)).sort()).toEqual(ends.map((end) => `journal.db${end}`));
    },
  );

  test.fails("answers 503, tells health, and charges what it had accepted once", async () => {
    const file = path.join(temporaryFolder(), "data/journal.db");
    const { meter, ledger, url, lines } = await meteredApi(
      { routes: { "POST /": 1 }, journal: file },
      (app, meter) => {
        app.use(meter);
        app.post("/", (_req, res) => void res.json({}));
      },
    );
    await ledger.goAway();
    const ids: string[] = [];
    for (let count = 0; count < 5; count += 1) {
      const { headers } = await request(url).post("/").set(payment).expect(200);
      ids.push(String(headers["redemption-id"]));
    }
    // Nothing can be made there any more.
    rmSync(path.dirname(file), { recursive: true });
    writeFileSync(path.dirname(file), "");
    await expect.poll(() => meter.health().refusing, { timeout: 5_000 }).toBe("journal-failing");
    expect(meter.health().problem).toMatch(/deleted/);
    const { body } = await request(url).post("/").set(payment).expect(503);
    expect(body.code).toBe("journal-failing");
    rmSync(path.dirname(file));
    await expect.poll(() => meter.health().refusing, { timeout: 5_000 }).toBeNull();
    await ledger.comeBack();
    await meter.flush();
    const burned = ledger.burns().map(({ idempotencyKey }) => idempotencyKey);
    expect(burned.sort()).toEqual(ids.sort());
    expect(lines.some(({ level }) => level === "error")).toBe(true);
  });
});

test("an application that copies its journal under load, while others open and close it, doubles and loses nothing", async () => {
  const folder = path.join(temporaryFolder(), "data");
  const file = path.join(folder, "journal.db");
  const copies = temporaryFolder();
  const { meter, ledger, url } = await meteredApi(
    { routes: { "POST /": 1 }, journal: file },
    (app, meter) => {
      app.use(meter);
      app.post("/", (_req, res) => void res.json({}));
    },
    { credits: 10_000 },
  );
  const { child, lines } = startChild("come-and-go", file, "visitor");
  expect((await lines.next()).value).toBe("ready");
  let working = true;
  const copying = (async () => {
    let count = 0;
    while (working) {
      for (const end of ["", "-wal"]) {
        await copyFile(file + end, path.join(copies, `copy${end}`));
        count += 1;
      }
    }
    return count;
  })();
  const accepted: string[] = [];
  for (let round = 0; round < 100; round += 1) {
    const answers = await Promise.all(
      Array.from({ length: 4 }, () => request(url).post("/").set(payment)),
    );
    for (const { status, headers } of answers) {
      if (status === 200) accepted.push(String(headers["redemption-id"]));
    }
  }
  working = false;
  expect(await copying).toBeGreaterThan(20);
  child.stdin.end();
  const visits = Number((await lines.next()).value);
  expect(visits).toBeGreaterThan(5);
  await meter.flush();
  expect(
    ledger
      .burns()
      .map(({ idempotencyKey }) => idempotencyKey)
      .sort(),
  ).toEqual(accepted.sort());
  await meter.close();
  const { journal } = openFile(file);
  const records = await everything(journal);
  const ours = records.filter(({ redemptionId }) => accepted.includes(redemptionId));
  expect(ours).toHaveLength(accepted.length);
  expect(new Set(ours.map(({ status }) => status))).toEqual(new Set(["completed"]));
  expect(records.length - ours.length).toBe(visits);
}, 60_000);
