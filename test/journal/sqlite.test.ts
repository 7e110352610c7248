import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import Database from "libsql";
import { beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { CreditMeterError } from "../../src/errors.ts";
import { findPlace } from "../../src/journal/place.ts";
import { hasEnded } from "../../src/journal/process.ts";
import { openSqliteJournal } from "../../src/journal/sqlite.ts";
import { describeJournal } from "./conformance.ts";
import {
  all,
  answers,
  claim,
  commit,
  counted,
  entry,
  everything,
  settlement,
  statusOf,
  t0,
} from "./records.ts";

/** Connections as they are opened: some settings can be seen, or changed, through none but their own. */
const { connections } = vi.hoisted(() => ({ connections: [] as Database.Database[] }));
vi.mock(import("../../src/packages.ts"), async (importOriginal) => {
  const packages = await importOriginal();
  class Seen extends packages.loadSqlite() {
    constructor(file: string, options?: Database.Options) {
      super(file, options);
      connections.push(this);
    }
  }
  return { ...packages, loadSqlite: () => Seen as unknown as typeof Database };
});
beforeEach(() => {
  connections.length = 0;
});

describeJournal("in memory", async () => ({ journal: openSqliteJournal(":memory:") }));

describeJournal("in a SQLite file", async () => {
  const file = path.join(temporaryFolder(), "journal.db");
  const open = async () => openSqliteJournal(file);
  return { journal: await open(), reopen: open, second: open };
});

function temporaryFolder() {
  const folder = mkdtempSync(path.join(tmpdir(), "journal-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function openFile(file = path.join(temporaryFolder(), "journal.db")) {
  const journal = openSqliteJournal(file);
  onTestFinished(() => journal.close("one").catch(() => {}));
  const connection = connections.at(-1);
  if (!connection) throw new Error("no connection was opened");
  return { journal, file, connection };
}

/** Runs `child.ts`, until the test ends or it does. */
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

async function linesUntilEnd({ lines }: ReturnType<typeof startChild>) {
  const found: string[] = [];
  for (let line = await lines.next(); !line.done; line = await lines.next()) found.push(line.value);
  return found;
}

async function kill(child: ChildProcess) {
  child.kill("SIGKILL");
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}

/** A file system of its own, as small as is wanted; undefined where this user cannot have one. */
function mountSmall(options: string): string | undefined {
  const folder = temporaryFolder();
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", folder], { stdio: "ignore" });
  } catch {
    return undefined;
  }
  // Lazily: libsql lets go of a file only when its statements have been collected.
  onTestFinished(() => {
    execFileSync("umount", ["-l", folder]);
  });
  return folder;
}
const noMount = "This user cannot mount a file system.";

describe("a SQLite file", () => {
  test("is its owner's alone, with the two beside it", async () => {
    const folder = temporaryFolder();
    const file = path.join(folder, "journal.db");
    writeFileSync(file, "", { mode: 0o644 });
    const { journal } = openFile(file);
    await commit(journal, { append: [entry("a")] });
    for (const end of ["", "-wal", "-shm"]) {
      expect((statSync(file + end).mode & 0o777).toString(8), end).toBe("600");
    }
  });

  test("is written so that a commit that returned survives a power cut", () => {
    const { connection } = openFile();
    expect(connection.pragma("journal_mode")).toMatchObject([{ journal_mode: "wal" }]);
    // 2 is FULL: https://sqlite.org/pragma.html#pragma_synchronous
    expect(connection.pragma("synchronous")).toMatchObject([{ synchronous: 2 }]);
    expect(connection.pragma("secure_delete")).toMatchObject([{ secure_delete: 1 }]);
    expect(connection.pragma("busy_timeout")).toMatchObject([{ timeout: 10_000 }]);
  });

  test("leaves an empty log behind when it is closed", async () => {
    const { journal, file } = openFile();
    await commit(journal, { append: [entry("a")] });
    await journal.close("one");
    expect(existsSync(`${file}-wal`) ? statSync(`${file}-wal`).size : 0).toBe(0);
    await expect(commit(journal, { append: [entry("b")] })).rejects.toThrow();
  });

  test("of a newer version is refused", () => {
    const { file } = openFile();
    new Database(file).pragma("user_version = 99");
    expect(() => openSqliteJournal(file)).toThrow(
      expect.objectContaining({
        code: "journal-unusable",
        message: expect.stringMatching(/newer version.*schema 99, this one knows 1\b/),
      }),
    );
  });

  test("that holds something else is refused, and left alone", () => {
    const folder = temporaryFolder();
    const other = path.join(folder, "app.db");
    new Database(other).exec("create table users (name text)");
    const text = path.join(folder, "notes.txt");
    writeFileSync(text, "dear diary ".repeat(100));
    for (const file of [other, text]) {
      expect(() => openSqliteJournal(file)).toThrow(
        expect.objectContaining({
          code: "journal-unusable",
          message: expect.stringContaining(file),
        }),
      );
    }
    const tables = new Database(other).prepare("select name from sqlite_schema").all();
    expect(tables).toEqual([{ name: "users" }]);
    expect(readFileSync(text, "utf8")).toBe("dear diary ".repeat(100));
  });

  test("keeps no proof of what is over, in any of its files", async () => {
    const { journal, file } = openFile();
    // Sizes and order from a fixed sequence in which SQLite leaves a copy behind in a page that it
    // evened out, which `secure_delete` does not overwrite.
    let seed = 5;
    const random = (below: number) => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed % below;
    };
    const secretOf = (id: string) => `<${id}>${"z".repeat(random(random(1_500) + 1))}<${id}>`;
    let sending: Awaited<ReturnType<typeof claim>> = [];
    for (let round = 0; round < 100; round += 1) {
      const ids = Array.from({ length: 1 + random(30) }, (_, index) => `id-${round}-${index}`);
      const append = ids.map((id, index) =>
        index % 3 === 0
          ? entry(id, { status: "prepared", proof: secretOf(id) })
          : entry(id, { body: secretOf(id), holderAddress: `0x${index % 4}` }),
      );
      const decided = append
        .filter(({ status }) => status === "prepared")
        .map(({ redemptionId }, index) =>
          index % 2 === 0
            ? entry(redemptionId, { status: "skipped" })
            : entry(redemptionId, { body: secretOf(redemptionId) }),
        );
      await commit(journal, { append });
      sending = await claim(journal, {
        append: decided,
        settle: sending.map((one) =>
          settlement(one, random(9) === 0 ? answers.pending : answers.completed),
        ),
        claim: { limit: random(30), perHolder: 30 },
      });
    }
    await journal.tidy();
    const kept = (await everything(journal)).filter(({ proof, body }) => proof ?? body);
    const bytes = ["", "-wal", "-shm"].map((end) => readFileSync(file + end, "latin1")).join("");
    const found = new Set(Array.from(bytes.matchAll(/<(id-\d+-\d+)>/g), ([, id]) => id));
    expect(kept.length).toBeGreaterThan(10);
    expect([...found].sort()).toEqual(kept.map(({ redemptionId }) => redemptionId).sort());
  });

  test("gives a proof up when a person decides, too", async () => {
    const { journal, file } = openFile();
    const who = { by: "ann", note: null, at: t0 };
    const unpriced = (id: string) => entry(id, { status: "unresolved", proof: `<${id}>` });
    await commit(journal, { append: ["fail", "complete", "supply"].map(unpriced) });
    await journal.act({ act: "fail" }, { ...who, redemptionId: "fail" });
    const complete = { act: "complete", redeemedAmount: 1 } as const;
    await journal.act(complete, { ...who, redemptionId: "complete" });
    const supply = { act: "supply", amount: 1, body: "(supply)" } as const;
    await journal.act(supply, { ...who, redemptionId: "supply" });
    await journal.tidy();
    const bytes = ["", "-wal"].map((end) => readFileSync(file + end, "latin1")).join("");
    expect(bytes.match(/<\w+>|\(supply\)/g)).toEqual(["(supply)"]);
  });
});

describe("a full disk", () => {
  const batchOf = (name: string) => ({
    append: Array.from({ length: 50 }, (_, index) =>
      entry(`${name}-${index}`, { body: "x".repeat(1_000) }),
    ),
  });
  /** Commits until one is refused; returns its number. */
  async function fill(journal: ReturnType<typeof openSqliteJournal>) {
    for (let number = 0; number < 1_000; number += 1) {
      try {
        await commit(journal, batchOf(`batch-${number}`));
      } catch {
        return number;
      }
    }
    throw new Error("It is not full after 1,000 batches.");
  }
  async function expectWholeBatches(
    journal: ReturnType<typeof openSqliteJournal>,
    batches: number,
  ) {
    const ids = (await everything(journal)).map(({ redemptionId }) => redemptionId);
    const expected = Array.from({ length: batches }, (_, number) => batchOf(`batch-${number}`));
    expect(ids).toEqual(expected.flatMap(({ append }) => append.map((one) => one.redemptionId)));
    expect(await journal.totals()).toEqual(await counted(journal));
  }

  test("refuses a batch whole, and takes it when there is room (max_page_count)", async () => {
    const { journal, connection } = openFile();
    const [row] = connection.pragma("page_count") as { page_count: number }[];
    connection.pragma(`max_page_count = ${(row?.page_count ?? 0) + 100}`);
    const refused = await fill(journal);
    await expectWholeBatches(journal, refused);
    // A second time the same, and no transaction is left open.
    await expect(commit(journal, batchOf(`batch-${refused}`))).rejects.toThrow(/full/);
    // What needs no more room goes on.
    expect(await claim(journal, { claim: { limit: 1, perHolder: 1 } })).toHaveLength(1);
    connection.pragma("max_page_count = 1000000");
    await commit(journal, batchOf(`batch-${refused}`));
    await expectWholeBatches(journal, refused + 1);
  });

  test("refuses a batch whole, and takes it when there is room (tmpfs)", async ({ skip }) => {
    const folder = mountSmall("size=4m");
    if (!folder) return skip(noMount);
    const ballast = path.join(folder, "ballast");
    const { journal, file } = openFile(path.join(folder, "journal.db"));
    writeFileSync(ballast, Buffer.alloc(1024 * 1024));
    const refused = await fill(journal);
    await expectWholeBatches(journal, refused);
    await expect(commit(journal, batchOf(`batch-${refused}`))).rejects.toThrow();
    rmSync(ballast);
    await commit(journal, batchOf(`batch-${refused}`));
    await expectWholeBatches(journal, refused + 1);
    await journal.close("one");
    const again = openFile(file);
    await expectWholeBatches(again.journal, refused + 1);
    expect(again.connection.pragma("integrity_check")).toEqual([{ integrity_check: "ok" }]);
  });
});

describe("several processes on one file", () => {
  test("open it at the same moment, while it is still empty", async () => {
    const folder = temporaryFolder();
    const children = ["a", "b", "c"].map((name) => startChild("open", "", name));
    for (const { lines } of children) expect((await lines.next()).value).toBe("ready");
    for (let round = 0; round < 10; round += 1) {
      const file = path.join(folder, `${round}.db`);
      for (const { child } of children) child.stdin?.write(`${file}\n`);
      for (const { lines } of children) expect((await lines.next()).value).toBe(file);
      const { journal } = openFile(file);
      const ids = (await everything(journal)).map(({ redemptionId }) => redemptionId);
      expect(ids.sort()).toEqual(["a", "b", "c"]);
    }
  });

  test("lose nothing, take nothing twice, and all make progress", async () => {
    const { journal, file } = openFile();
    const names = ["a", "b", "c", "d"];
    const outputs = await Promise.all(
      names.map((name) => linesUntilEnd(startChild("work", file, name))),
    );
    const expected = names.flatMap((name) =>
      Array.from({ length: 300 }, (_, index) => `${name}-${index} 1`),
    );
    expect(outputs.flat().sort()).toEqual(expected.sort());
    // Each had ten more to take from whenever it took five.
    for (const taken of outputs) expect(taken.length).toBeGreaterThanOrEqual(150);
    const states = new Set((await everything(journal)).map(({ status }) => status));
    expect([...states]).toEqual(["completed"]);
    expect(await journal.beat("one")).toEqual([]);
  });

  test("keep what one had committed when it was killed, and take over from it", async () => {
    const { journal, file, connection } = openFile();
    const said: { ids: string[]; taken: string[] }[] = [];
    for (const [round, name] of ["a", "b", "c"].entries()) {
      const { child, lines } = startChild("commit", file, name);
      expect(hasEnded((await lines.next()).value)).toBe(false);
      for (let batch = 0; batch < 10 + 7 * round; batch += 1) {
        said.push(JSON.parse((await lines.next()).value));
      }
      expect(await journal.beat("one")).toMatchObject([{ owner: name, gone: false }]);
      await kill(child);
      // What it said and we had not read yet counts, too.
      for (const line of await linesUntilEnd({ child, lines })) said.push(JSON.parse(line));
      expect(connection.pragma("integrity_check")).toEqual([{ integrity_check: "ok" }]);
      const records = await everything(journal);
      const ids = new Set(records.map(({ redemptionId }) => redemptionId));
      expect(said.flatMap((one) => one.ids).filter((id) => !ids.has(id))).toEqual([]);
      expect(ids.size % 20).toBe(0);
      expect(await journal.totals()).toEqual(await counted(journal));

      const sending = records.filter(({ status }) => status === "sending");
      const sendingIds = new Set(sending.map(({ redemptionId }) => redemptionId));
      const taken = said.flatMap((one) => one.taken).filter((id) => id.startsWith(`${name}-`));
      expect(taken.filter((id) => !sendingIds.has(id))).toEqual([]);
      expect(await journal.beat("one")).toMatchObject([{ owner: name, gone: true }]);
      const became = await journal.takeOver({ from: name, now: t0, resendSince: null });
      expect(became.unresolved.sort()).toEqual([...sendingIds].sort());
      await journal.prune(t0, 1_000);
    }
  });

  test("see what was committed here after findPlace and another process's end", async () => {
    const { journal, file } = openFile();
    await commit(journal, { append: [entry("a")] });
    // A second meter of this process, on the same file.
    findPlace(file);
    const other = (sql: string) =>
      execFileSync(process.execPath, [
        "-e",
        `const db = new (require("libsql"))(process.argv[1]); ${sql}; db.close();`,
        file,
      ]).toString();
    other(`db.exec("select * from redemptions")`);
    await commit(journal, { append: [entry("b")] });
    const count = `db.prepare("select count(*) as n from redemptions").all()[0].n`;
    expect(other(`console.log(${count})`).trim()).toBe("2");
  });
});

describe("the place of a journal", () => {
  const problemAt = (file: string, typeOf?: () => number) => {
    try {
      findPlace(file, typeOf);
    } catch (error) {
      expect(error).toBeInstanceOf(CreditMeterError);
      expect(error).toMatchObject({ code: "journal-unusable" });
      const { message } = error as Error;
      expect(message).toContain('journal: "/path/journal.db"');
      expect(message).toContain('journal: "memory"');
      return message;
    }
    throw new Error("It was accepted.");
  };

  test("is made, for its owner alone, and found again", () => {
    const folder = path.join(temporaryFolder(), "a/b");
    const file = path.join(folder, "journal.db");
    const local = () => 0xef53;
    expect(findPlace(file, local)).toEqual({ file, warning: undefined });
    expect((statSync(file).mode & 0o777).toString(8)).toBe("600");
    expect((statSync(folder).mode & 0o777).toString(8)).toBe("700");
    writeFileSync(file, "kept");
    expect(findPlace(path.relative(process.cwd(), file), local)).toMatchObject({ file });
    expect(readFileSync(file, "utf8")).toBe("kept");
    expect(execFileSync("ls", ["-A", folder]).toString()).toBe("journal.db\n");
  });

  test("is the real one behind a link", () => {
    const folder = temporaryFolder();
    mkdirSync(path.join(folder, "disk"));
    const file = path.join(folder, "disk/real.db");
    execFileSync("ln", ["-s", file, path.join(folder, "journal.db")]);
    writeFileSync(file, "");
    const asked: string[] = [];
    const place = findPlace(path.join(folder, "journal.db"), (where) => {
      asked.push(where);
      return 0;
    });
    expect(place.file).toBe(file);
    expect(asked).toEqual([path.dirname(file)]);
  });

  test("is no folder, and not inside a file", () => {
    const folder = temporaryFolder();
    expect(problemAt(folder)).toMatch(/that is a folder/);
    writeFileSync(path.join(folder, "file"), "");
    expect(problemAt(path.join(folder, "file/journal.db"))).toMatch(/part of the path is a file/);
  });

  test.each([
    [0x6969, "NFS"],
    [0x517b, "SMB"],
    [0xff534d42, "CIFS"],
    // As a signed number of 32 bits, as some machines give it.
    [0xff534d42 | 0, "CIFS"],
    [0xfe534d42, "SMB2"],
    [0x01021997, "9p"],
  ])("is not on a network: %d", (type, name) => {
    const file = path.join(temporaryFolder(), "journal.db");
    expect(problemAt(file, () => type)).toContain(`network file system (${name})`);
  });

  test.each([
    [0x794c7630, /container/],
    [0x65735546, /FUSE/],
    [0xef53, undefined],
  ])("is warned about where it may not last: %d", (type, warning) => {
    const found = findPlace(path.join(temporaryFolder(), "journal.db"), () => type).warning;
    if (warning) expect(found).toMatch(warning);
    else expect(found).toBeUndefined();
  });

  test.for(["a new file", "a file that is there"])("can be written: %s", (which, { skip }) => {
    const folder = mountSmall("size=1m");
    if (!folder) return skip(noMount);
    const file = path.join(folder, "journal.db");
    if (which !== "a new file") writeFileSync(file, "");
    execFileSync("mount", ["-o", "remount,ro", folder]);
    expect(problemAt(file)).toMatch(/the file system is read-only/);
  });

  test("has room", ({ skip }) => {
    const folder = mountSmall("size=64k");
    if (!folder) return skip(noMount);
    expect(problemAt(path.join(folder, "journal.db"))).toMatch(/the disk is full/);
  });

  test("may be refused to this user", ({ skip }) => {
    if (process.getuid?.() === 0) return skip("Nothing is refused to root.");
    const folder = temporaryFolder();
    mkdirSync(path.join(folder, "closed"), { mode: 0o500 });
    expect(problemAt(path.join(folder, "closed/journal.db"))).toMatch(/permission is denied/);
  });
});

describe("whether a process has ended", () => {
  test("is known of a live one, an ended one, and one that nobody has waited for", async ({
    skip,
  }) => {
    const { child, lines } = startChild("live");
    const name: string = (await lines.next()).value;
    expect(hasEnded(name)).toBe(false);
    child.kill("SIGKILL");
    if (existsSync("/proc/self/stat")) {
      // Nothing is waited for: Node learns of the end of a child only in its event loop.
      const stateOf = () => readFileSync(`/proc/${child.pid}/stat`, "utf8").split(") ").at(-1)?.[0];
      while (stateOf() !== "Z");
      expect(hasEnded(name)).toBe(true);
    }
    await once(child, "exit");
    expect(hasEnded(name)).toBe(true);
    if (!existsSync("/proc/self/stat")) skip("Here no process can be seen that has ended so.");
  });

  test("is not known of one of another machine, or of one that has no name", async () => {
    const { child, lines } = startChild("live");
    const name: string = (await lines.next()).value;
    await kill(child);
    expect(hasEnded(name)).toBe(true);
    const [machine, ...rest] = name.split(" ");
    expect(hasEnded([`${machine}-2`, ...rest].join(" "))).toBe(false);
    for (const other of ["", " ", `${machine}`, `${machine} x y`, `${machine}  `]) {
      expect(hasEnded(other), other).toBe(false);
    }
  });

  test("is known although its id belongs to another by now", ({ skip }) => {
    if (!existsSync("/proc/self/stat")) return skip("Here a start cannot be seen.");
    const { child, lines } = startChild("live");
    return lines.next().then(({ value: name }: IteratorResult<string>) => {
      const [machine, pid, start] = name.split(" ");
      expect(pid).toBe(String(child.pid));
      expect(hasEnded(`${machine} ${process.pid} ${start}`)).toBe(true);
    });
  });
});

test("what a claim takes from a second connection is not seen half-done", async () => {
  const { journal, file } = openFile();
  const other = openFile(file).journal;
  await commit(journal, { append: [entry("a")] });
  const both = await Promise.all([
    claim(journal, { owner: "one", claim: all }),
    claim(other, { owner: "two", claim: all }),
  ]);
  expect(both.flat()).toHaveLength(1);
  expect(await statusOf(other, "a")).toBe("sending");
});
