/**
 * The redemptions of this process, from admission to outcome: gives each its place, hands it over at
 * the door, carries outcomes out on the record that the request holds, and tells whoever listens.
 */

import { randomUUID } from "node:crypto";
import { clearInterval, clearTimeout, setInterval, setTimeout } from "node:timers";
import { elapsed } from "../clock.ts";
import { dropOldest } from "../drop-oldest.ts";
import type { JournalRecord } from "../journal/journal.ts";
import {
  type Answer,
  applyChange,
  applyRecord,
  type ChargeEvent,
  holderKeyOf,
  isSettled,
  openRedemption,
  type Payment,
  type Redemption,
  type RedemptionError,
  type Skip,
  type UnresolvedAnswer,
} from "../redemption.ts";
import { chargeEventOf } from "./charge-event.ts";
import type { Change, Door, Health, News, Outcome, Submission } from "./door.ts";
import { harmless } from "./harmless.ts";
import { newsOf } from "./news.ts";
import { createStall } from "./stall.ts";

export interface RedemptionsOptions {
  readonly environment: "production" | "test";
  /** Redemptions between admission and the journal's acknowledgement, at the most. */
  readonly maxUnderWay: number;
  /** Bytes of their payments, at the most. */
  readonly maxUnderWayBytes: number;
  /** Redemptions whose records are kept up to date in place, the newest, at the most. */
  readonly maxLive: number;
  /**
   * What may wait in the journal, and for how long the ledger may decide nothing while charges of several
   * holders wait; past it nothing new is admitted.
   */
  readonly backlog: { readonly count: number; readonly bytes: number; readonly ageMs: number };
  /** Whether what the journal acknowledged outlives the process. */
  readonly lasting: boolean;
  readonly openDoor: (tell: (outcome: Outcome) => void) => Door;
  /** Called once for every redemption that settles while it is live. */
  readonly onSettled: (redemption: Redemption) => void;
  /** Called with what each attempt to charge came to here, in order. */
  readonly onAnswer: (answer: Answer) => void;
  /** Called for a charge that ends with the meter or the process: nothing else remembers it. */
  readonly onUnsent: (redemption: Redemption) => void;
  /** Hears of every charge: handed over, acknowledged, sent, settled. */
  readonly onCharge: (event: ChargeEvent) => void;
  readonly onHealth: (health: Health) => void;
  /** Called for an answer that came after a person's decision, or for an attempt before the last. */
  readonly onLateAnswer: (late: Extract<Outcome, { kind: "late-answer" }>) => void;
  readonly onRecovered: (recovered: Extract<Outcome, { kind: "recovered" }>) => void;
  readonly now: () => number;
  /** Milliseconds of a clock that nobody sets. */
  readonly elapsed: () => number;
}

export type RefusalToOpen =
  | "queue-full"
  | "journal-full"
  | "journal-failing"
  | "ledger-misconfigured"
  | "closing";

export interface Redemptions {
  readonly door: Door;
  /** Admits a request if there is a place for its charge; else says why not. */
  open(payment: Payment, route: string): Redemption | RefusalToOpen;
  /**
   * Takes it back before it was handed over in any way: it leaves no record, and what the journal has set
   * aside or reserved for it is given back.
   */
  withdraw(redemption: Redemption): void;
  /**
   * Gives it up after its response, where something failed before it was handed over: its place is free.
   * Nothing remembers it.
   */
  abandon(redemption: Redemption): void;
  /** What its charge is made with, where that is more than the proof of its payment. */
  agree(redemption: Redemption, terms: Terms): void;
  /** Resolves with whether the proof is this redemption's: the first that asks gets it, durably. */
  reserve(redemption: Redemption, proof: string): Promise<boolean>;
  /** Strict durability: resolves when the redemption is durable, before its response is known. */
  prepare(redemption: Redemption): Promise<void>;
  /** Hands the charge over. Credits, a positive safe integer. */
  charge(redemption: Redemption, amount: number): void;
  /**
   * Settles what needs no ledger: a skip, or a price that could not be computed. The latter owes nothing
   * until somebody supplies its amount: its cause is ours, not the holder's.
   */
  decide(redemption: Redemption, decision: Skip | UnresolvedAnswer): void;
  /** What the journal said last of itself; undefined before it has. */
  health(): Health | undefined;
  /**
   * Whether what the journal has not acknowledged is so little that a crash would lose no more than is
   * promised. Nothing is acknowledged before the journal is open.
   */
  hasRoom(): boolean;
  /** Resolves when there is room, or false after so many milliseconds. */
  room(waitMs: number): Promise<boolean>;
  /** Why a request would be refused now; undefined where it would not. */
  refusal(): RefusalToOpen | undefined;
  /** The record of a redemption of this process, while it is live. */
  live(redemptionId: string): Redemption | undefined;
  /**
   * Calls back when a live redemption is settled the next time.
   *
   * @returns takes the callback off
   */
  onSettled(redemptionId: string, callback: () => void): () => void;
  /** Tells which charges end with the process, where the journal does not outlive it. */
  forsake(): void;
  /** Waits until every redemption that is live now is settled. */
  flush(): Promise<void>;
  /** Refuses new ones, waits for those under way until the deadline; returns what is not settled. */
  close(deadlineMs: number): Promise<readonly Redemption[]>;
}

/** What a charge is made with. */
export interface Terms {
  /** What goes to the ledger as its proof. A secret. */
  readonly proof: string;
  /** Whether it carries an id that the ledger may honour. */
  readonly repeatable: boolean;
  /** When it expires, in milliseconds since 1970; null: not known to. */
  readonly expiresAt: number | null;
}

interface Live {
  readonly redemption: Redemption;
  readonly settle: () => void;
  /** Of the payment. */
  readonly proof: string;
  terms: Terms;
  readonly admittedAt: number;
  bytes: number;
  /** Handed over for good, and not only prepared. */
  decided: boolean;
  /** Credits that count from its decision on: its amount; 0 where that is not known. */
  owes: number;
  /** How often it was handed over without an acknowledgement yet: twice where it was prepared. */
  unacknowledged: number;
  /** Durable, with its decision. */
  accepted: boolean;
  onPrepared?: () => void;
  /** Called when it is settled, also again. */
  onSettled?: Set<() => void>;
  /** Nothing more is heard of it here. */
  readonly leave: () => void;
  readonly left: Promise<void>;
}

export function createRedemptions(given: RedemptionsOptions): Redemptions {
  const options = {
    ...given,
    onSettled: harmless(given.onSettled),
    onAnswer: harmless(given.onAnswer),
    onUnsent: harmless(given.onUnsent),
    onCharge: harmless(given.onCharge),
    onHealth: harmless(given.onHealth),
    onLateAnswer: harmless(given.onLateAnswer),
    onRecovered: harmless(given.onRecovered),
  };
  const live = new Map<string, Live>();
  const stall = createStall(options.elapsed);
  let underWay = 0;
  let underWayBytes = 0;
  let health: Health | undefined;
  /** Whether the ledger has taken a charge from this process: then a fault of the configuration is news. */
  let hasCharged = false;
  /** Set when the journal is open. */
  let isOpen = false;
  /** Decided, and not acknowledged: what a crash would lose now. */
  let atRisk = 0;
  const waiting = new Set<() => void>();
  let closing: Promise<readonly Redemption[]> | undefined;
  let stopped = false;

  const door = options.openDoor((outcome) => {
    switch (outcome.kind) {
      case "accepted":
        for (const id of outcome.redemptionIds) accepted(id);
        break;
      case "changes":
        for (const news of outcome.changes) changed(news);
        break;
      case "health":
        health = outcome.health;
        options.onHealth(health);
        break;
      case "late-answer":
        options.onLateAnswer(outcome);
        break;
      case "recovered":
        isOpen = true;
        options.onRecovered(outcome);
        catchUp();
        for (const wake of waiting) wake();
    }
  });

  /** Whatever is behind the door has started again: what it knew of these, the journal knows. */
  function catchUp() {
    const open = [...live.values()].filter(
      ({ accepted, redemption }) => accepted && !isSettled(redemption.status),
    );
    const ids = open.map(({ redemption }) => redemption.redemptionId);
    for (let from = 0; from < ids.length; from += readAtOnce) {
      door
        .ask("read", { redemptionIds: ids.slice(from, from + readAtOnce), follow: true })
        .then((records) => {
          for (const record of records) changed(newsOf(record));
        })
        // The meter was closed meanwhile.
        .catch(() => {});
    }
  }

  function accepted(redemptionId: string) {
    const entry = live.get(redemptionId);
    if (!entry) return;
    entry.onPrepared?.();
    delete entry.onPrepared;
    entry.unacknowledged -= 1;
    if (!entry.decided || entry.accepted || entry.unacknowledged > 0) return;
    entry.accepted = true;
    tellCharge(entry, "accepted");
    atRisk -= 1;
    for (const wake of waiting) wake();
    underWay -= 1;
    underWayBytes -= entry.bytes;
    forgetIfDone(entry);
    makeRoom();
  }

  /** An unresolved one may still change. */
  function forgetIfDone({ redemption, accepted: durable }: Live) {
    const { status } = redemption;
    if (durable && isSettled(status) && status !== "unresolved")
      live.delete(redemption.redemptionId);
  }

  /** Only what is durable may be forgotten here; the number of the others is bounded by admission. */
  function makeRoom() {
    const over = live.size - options.maxLive;
    if (over <= 0) return;
    const count = Math.max(over, Math.floor(options.maxLive / 8));
    for (const entry of dropOldest(live, count, ({ accepted }) => accepted)) entry.leave();
  }

  function changed(news: News) {
    const { redemptionId, change } = news;
    if (change.status !== "sending" && change.status !== "changed") options.onAnswer(change);
    if (change.status === "completed") hasCharged = true;
    if (isDecided(news)) stall.decided();
    else if (change.status === "pending") stall.waits(news.holderKey);
    const entry = live.get(redemptionId);
    const was = entry?.redemption.status;
    if (entry && !carryOut(entry, change)) return;
    const event = chargeEventOf(news, was, entry?.proof ?? null);
    if (event) options.onCharge(event);
  }

  /** Returns whether it was a move that exists. */
  function carryOut(entry: Live, change: Change | Skip | UnresolvedAnswer): boolean {
    const { redemption } = entry;
    const applied =
      change.status === "changed"
        ? applyRecord(redemption, fieldsOf(change.record), options.now())
        : applyChange(redemption, change, options.now());
    if (!applied || !isSettled(redemption.status)) return applied;
    forgetIfDone(entry);
    options.onSettled(redemption);
    entry.settle();
    for (const callback of entry.onSettled ?? []) callback();
    return true;
  }

  function tellCharge({ redemption, owes }: Live, kind: "handed-over" | "accepted") {
    if (owes === 0) return;
    const { redemptionId, planId, holderAddress } = redemption;
    const holderKey = holderKeyOf(planId, holderAddress);
    options.onCharge({ kind, redemptionId, holderKey, amount: owes });
    if (kind === "handed-over" && redemption.status === "pending") stall.waits(holderKey);
  }

  function submit(entry: Live, status: Submission["status"]) {
    const { redemption, terms, admittedAt } = entry;
    const { redemptionId, planId, holderAddress, route, environment, error } = redemption;
    const amount = redemption.redemption.requestedAmount;
    entry.unacknowledged += 1;
    if (entry.decided) atRisk += 1;
    door.submit([
      {
        redemptionId,
        status,
        planId,
        holderAddress,
        ...terms,
        route,
        environment,
        amount,
        hold: 0,
        usage: redemption.usage ?? null,
        error: error ?? null,
        admittedAt,
      },
    ]);
  }

  function refusal(): RefusalToOpen | undefined {
    if (closing) return "closing";
    if (health?.writable === false) return "journal-failing";
    if (health?.fault && !hasCharged) return "ledger-misconfigured";
    if (underWay >= options.maxUnderWay) return "queue-full";
    if (health) {
      const { pending, pendingBytes } = health.totals;
      const { count, bytes } = options.backlog;
      if (pending >= count || pendingBytes >= bytes) return "journal-full";
    }
    return isStalled() ? "journal-full" : undefined;
  }

  const isStalled = () =>
    (health?.totals.pending ?? 0) > 0 && stall.ageMs() > options.backlog.ageMs;

  const hasRoom = () => isOpen && atRisk < maxAtRisk;

  async function room(waitMs: number): Promise<boolean> {
    const until = elapsed() + waitMs;
    while (!hasRoom()) {
      const left = until - elapsed();
      if (left <= 0 || refusal()) return false;
      await new Promise<void>((resolve) => {
        const wake = () => {
          clearTimeout(timer);
          waiting.delete(wake);
          resolve();
        };
        const timer = setTimeout(wake, Math.min(left, lookForRoomMs));
        waiting.add(wake);
      });
    }
    return true;
  }

  const allSettled = () => Promise.all([...live.values()].map(({ left }) => left));

  async function flush() {
    // What is durable does not keep the process alive; whoever waits for it does.
    const alive = setInterval(() => {}, longestTimerMs);
    await allSettled();
    clearInterval(alive);
  }

  async function drain(deadlineMs: number) {
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, deadlineMs);
    });
    await Promise.race([allSettled(), deadline]);
    clearTimeout(timer);
    await door.ask("stop", {});
    stopped = true;
    const left = [...live.values()].filter(({ redemption }) => !isSettled(redemption.status));
    for (const entry of left) {
      entry.leave();
      if (!entry.accepted || !options.lasting) options.onUnsent(entry.redemption);
    }
    return left.map(({ redemption }) => redemption);
  }

  return {
    door,

    open(payment, route) {
      const { planId, holderAddress, proof } = payment;
      const bytes = planId.length + holderAddress.length + proof.length;
      const why = refusal();
      if (why && !(why === "journal-full" && isStalled() && stall.mayTry())) return why;
      if (underWayBytes + bytes > options.maxUnderWayBytes) return "queue-full";
      const redemptionId = randomUUID();
      const admittedAt = options.now();
      const { redemption, settle } = openRedemption(
        { redemptionId, planId, holderAddress, route, environment: options.environment },
        admittedAt,
      );
      let leave = () => {};
      const left = new Promise<void>((resolve) => {
        leave = resolve;
      });
      live.set(redemptionId, {
        redemption,
        settle: () => {
          settle();
          leave();
        },
        left,
        leave,
        proof,
        // A redemption goes under an id of its own: whether that is honoured is the ledger's matter.
        terms: { proof, repeatable: true, expiresAt: null },
        admittedAt,
        bytes,
        decided: false,
        owes: 0,
        unacknowledged: 0,
        accepted: false,
      });
      underWay += 1;
      underWayBytes += bytes;
      return redemption;
    },

    agree({ redemptionId }, terms) {
      const entry = live.get(redemptionId);
      if (!entry || entry.unacknowledged > 0) return;
      const more = terms.proof.length - entry.terms.proof.length;
      entry.terms = terms;
      entry.bytes += more;
      underWayBytes += more;
    },

    withdraw({ redemptionId }) {
      const entry = live.get(redemptionId);
      if (!entry || entry.decided || entry.unacknowledged > 0) return;
      live.delete(redemptionId);
      underWay -= 1;
      underWayBytes -= entry.bytes;
      entry.leave();
      // It fails where the meter is being closed.
      door.ask("release", { redemptionId }).catch(() => {});
    },

    abandon({ redemptionId }) {
      const entry = live.get(redemptionId);
      if (!entry || entry.unacknowledged > 0 || entry.accepted) return;
      live.delete(redemptionId);
      underWay -= 1;
      underWayBytes -= entry.bytes;
      entry.leave();
    },

    reserve: ({ redemptionId }, proof) => door.ask("reserve", { redemptionId, proof }),

    prepare(redemption) {
      const entry = live.get(redemption.redemptionId);
      if (!entry) return Promise.resolve();
      return new Promise((resolve) => {
        entry.onPrepared = resolve;
        submit(entry, "prepared");
      });
    },

    charge(redemption, amount) {
      const entry = live.get(redemption.redemptionId);
      if (!entry || entry.decided) return;
      entry.decided = true;
      redemption.redemption.requestedAmount = amount;
      redemption.message = `To be charged ${amount}.`;
      if (stopped) return options.onUnsent(redemption);
      entry.owes = amount;
      tellCharge(entry, "handed-over");
      submit(entry, "pending");
    },

    decide(redemption, decision) {
      const entry = live.get(redemption.redemptionId);
      if (!entry || entry.decided) return;
      entry.decided = true;
      if (decision.reason === "price-zero") redemption.redemption.requestedAmount = 0;
      carryOut(entry, decision);
      if (stopped) return;
      submit(entry, decision.status);
    },

    health: () => health,
    hasRoom,
    room,
    refusal,
    forsake() {
      if (stopped) return;
      for (const { decided, redemption } of live.values()) {
        if (decided && !isSettled(redemption.status)) options.onUnsent(redemption);
      }
    },
    live: (redemptionId) => live.get(redemptionId)?.redemption,
    onSettled(redemptionId, callback) {
      const entry = live.get(redemptionId);
      if (!entry) return () => {};
      entry.onSettled ??= new Set();
      const callbacks = entry.onSettled.add(callback);
      return () => void callbacks.delete(callback);
    },
    flush,

    close(deadlineMs) {
      closing ??= drain(deadlineMs);
      return closing;
    },
  };
}

/** Whether the ledger has decided about it, here or by what another process heard. */
function isDecided({ change }: News): boolean {
  const record = change.status === "changed" ? change.record : undefined;
  const { status } = record ?? change;
  return (status === "completed" || status === "failed") && record?.error?.code !== "operator";
}

/** Redemptions that a crash may lose: of delivered responses, the newest. */
const maxAtRisk = 256;
/** Milliseconds between looks for whether a request that waits for room must be refused. */
const lookForRoomMs = 250;
/** Records that are asked for at once. */
const readAtOnce = 1_000;

/** The longest that Node knows (`TIMEOUT_MAX`). */
const longestTimerMs = 2 ** 31 - 1;

/** What a journal's record says in the words of `res.locals.redemption`. */
export function fieldsOf(record: JournalRecord) {
  return {
    status: record.status === "prepared" ? ("pending" as const) : record.status,
    timestamp: new Date(record.changedAt).toISOString(),
    redemption: {
      requestedAmount: record.amount,
      redeemedAmount: record.redeemedAmount,
      remainingBalance: record.remainingBalance,
    },
    short: record.short,
    transaction: record.transaction,
    payer: record.payer,
    error: record.error as RedemptionError | null,
  };
}

/** A record as `res.locals.redemption` would show it, after a restart. */
export function receiptOf(record: JournalRecord): Redemption {
  const { redemption } = openRedemption(record, record.admittedAt);
  const fields = fieldsOf(record);
  if (fields.status !== "pending") applyRecord(redemption, fields, record.changedAt);
  Object.assign(redemption.redemption, fields.redemption);
  return redemption;
}
