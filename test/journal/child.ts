/**
 * A process of its own on a journal: `node --import tsx child.ts <what> <file> <name>`. Each line that it
 * writes is out before it goes on.
 */

import { writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import type { Claimed } from "../../src/journal/journal.ts";
import { thisProcess } from "../../src/journal/process.ts";
import { openSqliteJournal } from "../../src/journal/sqlite.ts";
import { answers, claim, commit, entry, settlement, t0 } from "./records.ts";

const [what, file = "", name = ""] = process.argv.slice(2);

function tell(line: string) {
  const bytes = Buffer.from(`${line}\n`);
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(1, bytes, at);
    } catch (error) {
      // The pipe is full: the reader is slower.
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

const works: Record<string, () => Promise<void>> = {
  /** Tells its name, and lives until it is killed. */
  async live() {
    tell(thisProcess());
    await wait(60_000);
  },

  /** Opens each file whose path it is sent, and writes one record. */
  async open() {
    tell("ready");
    for await (const path of createInterface({ input: process.stdin })) {
      const journal = openSqliteJournal(path);
      await commit(journal, { append: [entry(name)] });
      tell(path);
    }
  },

  /** Writes one record, closes, and ends as a program does. */
  async visit() {
    const journal = openSqliteJournal(file);
    await commit(journal, { owner: name, append: [entry(name)] });
    await journal.close(name);
  },

  /** Opens, writes one record that costs nothing, and closes, until its standard input ends; tells how often. */
  async "come-and-go"() {
    let going = true;
    process.stdin.resume().on("end", () => {
      going = false;
    });
    tell("ready");
    let visits = 0;
    for (; going; visits += 1) {
      const journal = openSqliteJournal(file);
      const skipped = entry(`${name}-${visits}`, { status: "skipped" });
      await commit(journal, { owner: name, append: [skipped] });
      await journal.close(name);
      await wait(5);
    }
    tell(String(visits));
  },

  /** Appends 300 records, ten at a time, and charges five at a time until nothing is left. */
  async work() {
    const journal = openSqliteJournal(file);
    await journal.beat(name);
    let appended = 0;
    let sending: Claimed[] = [];
    do {
      const ten = Array.from({ length: appended < 300 ? 10 : 0 }, (_, index) =>
        entry(`${name}-${appended + index}`, { holderAddress: `0x${index}` }),
      );
      appended += ten.length;
      sending = await claim(journal, {
        owner: name,
        append: ten,
        settle: sending.map((one) => settlement(one, answers.completed)),
        claim: { limit: 5, perHolder: 5 },
      });
      for (const { redemptionId, attempt } of sending) tell(`${redemptionId} ${attempt}`);
      await wait(2);
    } while (sending.length > 0 || appended < 300);
    await journal.close(name);
  },

  /** Commits batches until it is killed, and tells of each when it is durable. */
  async commit() {
    const journal = openSqliteJournal(file);
    await journal.beat(name);
    tell(thisProcess());
    for (let batch = 0; ; batch += 1) {
      const ids = Array.from({ length: 20 }, (_, index) => `${name}-${batch}-${index}`);
      const taken = await claim(journal, {
        owner: name,
        now: t0 + batch,
        append: ids.map((id) => entry(id)),
        claim: { limit: 5, perHolder: Number.MAX_SAFE_INTEGER },
      });
      tell(JSON.stringify({ ids, taken: taken.map(({ redemptionId }) => redemptionId) }));
    }
  },
};

await works[what ?? ""]?.();
