/**
 * Knows when to send: accept → journal → send → record. One cycle commits all that has come together:
 * what was handed over, what attempts came to, and which records are taken for sending. Nothing is
 * acknowledged, sent or told before its commit.
 */

import { clearTimeout, setTimeout } from "node:timers";
import type { Batch, Committed, Entry, Reservation } from "../journal/journal.ts";
import { holderKeyOf } from "../redemption.ts";
import type { Attempted } from "./attempt.ts";
import type { Door, Submission, News as Told } from "./door.ts";
import { createHealth, messageOf } from "./health.ts";
import { createHolds } from "./holds.ts";
import { createJournalTime } from "./journal-time.ts";
import { createLife } from "./life.ts";
import { lookMs, startLooking } from "./looks.ts";
import { createNews, newsOf } from "./news.ts";
import { type Answers, createAnswers } from "./questions.ts";
import type { RedeemerOptions } from "./redeemer-options.ts";
import { createSender, notSent } from "./sender.ts";
import { afterCommit } from "./totals.ts";

export interface Redeemer extends Door {
  /** Commits what was handed over, before it returns, where the journal can: for a process's exit. */
  drainNow(): void;
}

/** Records of one commit, and the milliseconds that the first of them waits for others, at the most. */
const batchRecords = 256;
const batchMs = 2;
/** Milliseconds before a commit that failed is tried again, and how often while stopping. */
const retryCommitMs = 250;
const lastTries = 3;
/** Records that are read at once to find those that a failed commit took. */
const pageSize = 1_000;

export function createRedeemer(given: RedeemerOptions): Redeemer {
  const time = createJournalTime(given.now, given.elapsed);
  // What is written down, and compared with what others wrote down, is in the journal's time.
  const options: RedeemerOptions = { ...given, now: time.now };
  const { journal, owner, now, tell } = options;
  /** Handed over, and not durable yet. */
  const inbox: Entry[] = [];
  /** What attempts came to, and is not durable yet. */
  const settlements: Attempted[] = [];
  /** Proofs that requests wait for, before their handlers run. */
  const reservations: (Reservation & Waiting)[] = [];
  let timer: NodeJS.Timeout | undefined;
  let dueIn = Number.POSITIVE_INFINITY;
  const wakes = new Set<NodeJS.Timeout>();
  let cycling: Promise<void> | undefined;
  /** Since the last commit failed: what it took, if it was applied all the same, is not known. */
  let failing = false;
  /** Set after a commit that only remembered: the next one settles and takes, too. */
  let workIsDue = false;
  /** Resolves when nothing exclusive is under way. */
  let busy: Promise<void> = Promise.resolve();
  let stopped: Promise<undefined> | undefined;
  let closed = false;

  const life = createLife(given.now, given.elapsed);
  const sender = createSender(options, life, time, {
    settle(settlement) {
      settlements.push(settlement);
      schedule(batchMs);
    },
    wakeIn,
  });
  const holds = createHolds(journal, owner);
  const health = createHealth((state) => tell({ kind: "health", health: state }), sender.paused);
  const news = createNews(journal, sender.has);
  const stopLooking = startLooking(options, health, life, time, news, () => schedule(0));

  /** Lets a cycle run in so many milliseconds, or sooner if one is due sooner. */
  function schedule(ms: number) {
    if (closed) return;
    if (ms < dueIn) {
      clearTimeout(timer);
      dueIn = ms;
      timer = setTimeout(() => {
        dueIn = Number.POSITIVE_INFINITY;
        void cycle();
      }, ms);
    }
    // What is not durable yet keeps the process alive. What is can be sent by the next one.
    if (inbox.length > 0 || settlements.length > 0) timer?.ref();
    else timer?.unref();
  }

  /** Something may be due then. What is due later than the next look is found by a look. */
  function wakeIn(ms: number) {
    if (ms > lookMs || stopped) return;
    const wake = setTimeout(() => {
      wakes.delete(wake);
      schedule(0);
    }, ms).unref();
    wakes.add(wake);
  }

  /** Never rejects. */
  async function cycle(): Promise<void> {
    if (cycling) return schedule(batchMs);
    cycling = commitAll().finally(() => {
      cycling = undefined;
    });
    await cycling;
  }

  async function commitAll() {
    await commitNext();
    if (workIsDue) await commitNext();
  }

  async function commitNext() {
    const batch = nextBatch();
    if (!batch) return;
    const stretch = life.stretch();
    try {
      committed(batch, stretch, await exclusive(() => journal.commit(batch)));
      if (failing) await findUnsent();
      failing = false;
    } catch (error) {
      failing = true;
      health.failed("commit", error);
      health.tell();
      schedule(retryCommitMs);
    }
  }

  /**
   * One after the other. What the journal says of a holder must come after all that was acknowledged
   * before, and before all that is afterwards, or the guard would count a charge twice, or not at all.
   */
  function exclusive<Value>(work: () => Promise<Value>): Promise<Value> {
    const done = busy.then(work);
    busy = done.then(
      () => {},
      () => {},
    );
    return done;
  }

  function nextBatch(): FullBatch | undefined {
    // Nothing is taken until it is certain what the commit before took.
    const claim = failing ? undefined : sender.allowed();
    const isIdle = inbox.length === 0 && reservations.length === 0 && settlements.length === 0;
    if (isIdle && !claim && !failing) return undefined;
    const append = inbox.slice(0, batchRecords);
    const reserve = reservations.slice(0, batchRecords);
    // What is not remembered yet is lost by a crash, what is not settled is not: the one never waits
    // for the other's work.
    const isUrgent = append.length > 0 || reserve.length > 0;
    workIsDue = !workIsDue && isUrgent && (settlements.length > 0 || claim !== undefined);
    if (workIsDue) return { owner, now: now(), append, reserve, settle: [] };
    return { owner, now: now(), append, reserve, settle: settlements.slice(), claim };
  }

  function committed(batch: FullBatch, stretch: number | undefined, result: Committed) {
    health.worked("commit");
    health.totals = afterCommit(health.totals, batch, batch.settle, result);
    inbox.splice(0, batch.append.length);
    for (const [index, { resolve }] of reservations.splice(0, batch.reserve.length).entries()) {
      resolve(result.reserved[index] === true);
    }
    settlements.splice(0, batch.settle.length);
    const changes: Told[] = [];
    for (const entry of batch.append) {
      const { redemptionId, planId, holderAddress, amount, status, error } = entry;
      news.follow(redemptionId, status);
      if (error?.reason !== "charge-invalid") continue;
      const change = { ...error, status: "unresolved", reason: error.reason } as const;
      changes.push({ redemptionId, holderKey: holderKeyOf(planId, holderAddress), amount, change });
    }
    for (const [index, settlement] of batch.settle.entries()) {
      const { redemptionId, holderKey, amount, attempt, answer } = settlement;
      if (result.late[index]) tell({ kind: "late-answer", redemptionId, attempt, answer });
      // Otherwise someone else has decided about it meanwhile; a look tells what.
      if (!result.settled[index]) continue;
      news.know(redemptionId, answer.status);
      changes.push({ redemptionId, holderKey, amount, change: answer });
    }
    for (const charge of result.claimed) {
      news.know(charge.redemptionId, "sending");
      const { redemptionId, holderKey, amount } = charge;
      changes.push({ redemptionId, holderKey, amount, change: { status: "sending" } });
      sender.send(charge, stretch);
    }
    if (batch.append.length > 0) {
      tell({ kind: "accepted", redemptionIds: batch.append.map((entry) => entry.redemptionId) });
    }
    if (changes.length > 0) tell({ kind: "changes", changes });
    health.tell();
    const more = result.claimed.length > 0 && result.claimed.length === batch.claim?.limit;
    if (!workIsDue && (inbox.length > 0 || settlements.length > 0 || more || failing)) {
      schedule(batchMs);
    }
  }

  /** A commit that failed may have been applied all the same. What it took was never sent. */
  async function findUnsent() {
    const answered = new Set(settlements.map(({ redemptionId }) => redemptionId));
    let after: number | undefined;
    do {
      const page = await journal.list({ status: "sending", after, limit: pageSize });
      for (const record of page.records) {
        const { redemptionId, attempt, owner: taker, planId, holderAddress } = record;
        if (taker !== owner || sender.has(redemptionId) || answered.has(redemptionId)) continue;
        settlements.push({
          redemptionId,
          attempt,
          holderKey: holderKeyOf(planId, holderAddress),
          amount: record.amount ?? 0,
          answer: notSent,
          mayBeApplied: false,
          notBefore: 0,
        });
      }
      after = page.next ?? undefined;
    } while (after !== undefined);
  }

  /** Never rejects: what could not be written stays with whoever handed it over, or is found later. */
  async function stop(): Promise<undefined> {
    sender.abort();
    for (const wake of wakes) clearTimeout(wake);
    await stopLooking();
    // It may take more for sending, which is not sent any more.
    await cycling;
    await sender.idle();
    let tries = lastTries;
    while (tries > 0 && (inbox.length > 0 || settlements.length > 0)) {
      await cycling;
      await cycle();
      if (!failing) continue;
      tries -= 1;
      await new Promise((resolve) => setTimeout(resolve, retryCommitMs));
    }
    closed = true;
    clearTimeout(timer);
    await cycling;
    await options.end().catch(() => {});
    await journal.close(owner).catch(() => {});
    return undefined;
  }

  const fromJournal = createAnswers(
    options,
    (record) => {
      news.follow(record.redemptionId, record.status);
      tell({ kind: "changes", changes: [newsOf(record)] });
      schedule(0);
    },
    ({ redemptionId, status }) => news.follow(redemptionId, status),
  );

  const answers: Answers = {
    ...fromJournal,
    async account({ planId, holderAddress, askLedger, isShared }) {
      const read = () => exclusive(() => journal.account(planId, holderAddress));
      const spentBefore = askLedger && isShared ? (await read()).spent : null;
      const balance = askLedger ? await options.askBalance(planId, holderAddress) : null;
      return { balance, spentBefore, account: await read() };
    },
    verify: options.verify,
    hold: holds.hold,
    async release({ redemptionId }) {
      holds.release(redemptionId);
      return undefined;
    },
    /** Whoever hears of a redemption may decide about it at once, before its record is written. */
    async act(asked) {
      if (inbox.some(({ redemptionId }) => redemptionId === asked.redemptionId)) {
        await cycling;
        await cycle();
      }
      return fromJournal.act(asked);
    },
    reserve({ redemptionId, proof }) {
      return new Promise((resolve) => {
        reservations.push({ redemptionId, proof, resolve });
        schedule(reservations.length >= batchRecords ? 0 : batchMs);
      });
    },
    stop() {
      stopped ??= stop();
      return stopped;
    },
  };

  return {
    submit(submissions) {
      for (const submission of submissions) inbox.push(entryOf(submission, options.encode));
      schedule(inbox.length >= batchRecords ? 0 : batchMs);
    },
    ask: (name, question) => answers[name](question),
    drainNow() {
      if (closed) return;
      const settle = settlements.splice(0);
      while (inbox.length > 0 || settle.length > 0) {
        const append = inbox.splice(0, batchRecords);
        // Nobody is left to hear of it if it fails.
        journal.commit({ owner, now: now(), append, settle: settle.splice(0) }).catch(() => {});
      }
    },
  };
}

interface Waiting {
  readonly resolve: (isReserved: boolean) => void;
}

/** A batch with all that the redeemer must know of it afterwards. */
interface FullBatch extends Batch {
  readonly settle: readonly Attempted[];
  readonly reserve: readonly Reservation[];
}

function entryOf(submission: Submission, encode: RedeemerOptions["encode"]): Entry {
  if (submission.status !== "pending") return { ...submission, body: null };
  const { redemptionId, planId, holderAddress, proof, amount } = submission;
  try {
    if (amount === null) throw new TypeError("this charge has no amount");
    const body = encode({ redemptionId, planId, holderAddress, proof, amount });
    return { ...submission, body, proof: null };
  } catch (error) {
    const reason = "charge-invalid";
    const fault = { code: reason, reason, message: messageOf(error) };
    return { ...submission, status: "unresolved", body: null, error: fault };
  }
}
