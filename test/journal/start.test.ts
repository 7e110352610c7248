/** A journal that can never open stops the start of the program. */

import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import Database from "libsql";
import { expect, onTestFinished, test } from "vitest";
import { CreditMeterError, creditMeter } from "../../src/index.ts";
import { findPlace } from "../../src/journal/place.ts";
import { openSqliteJournal } from "../../src/journal/sqlite.ts";
import { keepLines } from "../support/api.ts";

function temporary() {
  const folder = mkdtempSync(path.join(tmpdir(), "start-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function start(journal: string) {
  const { lines, logger } = keepLines();
  let error: unknown;
  try {
    const options = { plans: ["1059"], environment: "sandbox", apiKey: "nvm:key" } as const;
    const meter = creditMeter({ ...options, journal, logger });
    onTestFinished(async () => void (await meter.close({ deadlineMs: 0 })));
  } catch (thrown) {
    error = thrown;
  }
  return { error, lines };
}

async function journalOf(version: (known: number) => number, application?: number) {
  const file = path.join(temporary(), "journal.db");
  await openSqliteJournal(file).close("nobody");
  const db = new Database(file);
  const [{ user_version: known }] = db.pragma("user_version") as [{ user_version: number }];
  db.pragma(`user_version = ${version(known)}`);
  if (application !== undefined) db.pragma(`application_id = ${application}`);
  db.close();
  return file;
}

test.each([
  [
    "a file of something else",
    async () => {
      const file = path.join(temporary(), "journal.db");
      writeFileSync(file, "This is no database. ".repeat(1_000));
      return file;
    },
    "it is no SQLite database",
  ],
  ["a newer version's", () => journalOf((known) => known + 1), "written by a newer version"],
  [
    "another program's database",
    () => journalOf((known) => known, 77),
    "a database of something else",
  ],
])("%s stops it, before anything is promised", async (_name, make, says) => {
  const { error, lines } = start(await make());
  expect(error).toBeInstanceOf(CreditMeterError);
  expect(error).toMatchObject({ code: "journal-unusable", message: expect.stringContaining(says) });
  expect(lines).toEqual([]);
});

test("one of ours, and one that is empty, do not", async () => {
  expect(start(await journalOf((known) => known)).error).toBeUndefined();
  const empty = path.join(temporary(), "journal.db");
  writeFileSync(empty, "");
  expect(start(empty).error).toBeUndefined();
});

test("the probe beside the journal follows no link", () => {
  const folder = temporary();
  const precious = path.join(folder, "precious");
  writeFileSync(precious, "kept");
  symlinkSync(precious, path.join(folder, "journal.db-probe"));
  findPlace(path.join(folder, "journal.db"), () => 0xef53);
  expect(readFileSync(precious, "utf8")).toBe("kept");
  expect(readdirSync(folder).sort()).toEqual(["journal.db", "journal.db-probe", "precious"]);
});

test.each([
  [0x01021994, "tmpfs"],
  [0x858458f6, "ramfs"],
])("a journal in memory (%i, %s) is warned of", (type, name) => {
  const { warning } = findPlace(path.join(temporary(), "journal.db"), () => type);
  expect(warning).toContain(name);
  expect(warning).toContain("gone when the machine restarts");
});

/** A file system that nobody can write; undefined where none can be mounted. */
function readOnly(): string | undefined {
  const folder = temporary();
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "ro", "tmpfs", folder], { stdio: "ignore" });
  } catch {
    return undefined;
  }
  onTestFinished(() => void execFileSync("umount", [folder]));
  return folder;
}

test("a read-only file system is called so, with what to do", (context) => {
  const folder = readOnly();
  if (folder === undefined) return context.skip();
  for (const file of ["journal.db", "a/journal.db", "a/b/journal.db"]) {
    const { error } = start(path.join(folder, file));
    expect(error).toMatchObject({ code: "journal-unusable" });
    expect((error as Error).message).toContain("the file system is read-only");
    expect((error as Error).message).toContain("a mounted volume");
    expect((error as Error).message).not.toContain("ENOENT");
  }
  expect(existsSync(path.join(folder, "a"))).toBe(false);
});
