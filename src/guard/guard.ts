/**
 * Who may pass, before the handler runs. A request puts credits on hold; they must fit into what the
 * holder has, by the ledger's last word, less all that is on hold and not settled. Where the ledger
 * does not say, a holder has a line of credit, and all such holders together have a limit. Everything
 * is decided at once where what is known suffices; else the ledger is asked.
 */

import { createHash } from "node:crypto";
import type { Account, HoldAnswer, HoldAsked } from "../account.ts";
import { type Clock, type Late, late, type Waits } from "../clock.ts";
import { dropOldest } from "../drop-oldest.ts";
import { type BalanceReading, type ChargeEvent, holderKeyOf, type Payment } from "../redemption.ts";
import { type Hold, type Turned, takeHold } from "./hold.ts";
import { createQuestions, type WasAsked } from "./questions.ts";
import {
  available,
  isBusy,
  newStanding,
  type Standing,
  tellBalance,
  unsettled,
} from "./standing.ts";

export interface GuardOptions {
  /** Whether the ledger is asked for balances. */
  readonly balance: "ask" | "never";
  /** Milliseconds for which a balance counts. */
  readonly balanceTtlMs: number;
  /** Milliseconds for which a holder who was refused, or could not be asked for, is not asked for again. */
  readonly refusalTtlMs: number;
  /** Credits that a holder may owe whose balance the ledger does not tell. */
  readonly creditLine: number;
  /** Credits that all such holders may owe together of whom no balance was ever told, what the ledger refused within `blockForMs` included. */
  readonly maxExposure: number;
  /** Milliseconds for which a holder is refused after the ledger refused a charge of theirs. */
  readonly blockForMs: number;
  /** What is done while the ledger does not answer. */
  readonly onLedgerDown: "credit-line" | "refuse";
  /** Balances that are asked for at once, at the most; of four places one is kept for known holders. */
  readonly maxQuestions: number;
}

/** What is asked for of a holder, and known of them. */
export interface Known {
  /** Null where the ledger was not to be asked. */
  readonly balance: BalanceReading | null;
  /** What the journal knew to be spent before the ledger was asked; null where holds are not shared. */
  readonly spentBefore: number | null;
  readonly account: Account;
}

export interface GuardParts extends GuardOptions {
  /** Asks the ledger, if it is to be asked, and then the journal. */
  readonly ask: (question: {
    planId: string;
    holderAddress: string;
    askLedger: boolean;
    isShared: boolean;
  }) => Promise<Known>;
  /** Sets credits aside among all processes; undefined where holds are this process's own. */
  readonly share: ((asked: HoldAsked) => Promise<HoldAnswer>) | undefined;
  /** Credits of all charges in the journal that are not settled. */
  readonly unsettledInJournal: () => number;
  /** Called with what the ledger said of a balance. Must not throw. */
  readonly onBalance: (balance: BalanceReading) => void;
  /** Called whenever someone is refused because all together owe too much. Must not throw. */
  readonly onExposureReached: () => void;
  /** Milliseconds that a question may wait for its turn, and as many that it may take then. */
  readonly waitMs: number;
  readonly clock: Clock;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

export interface Guard {
  /** @param credits what the request may cost; 0: it costs nothing, and may pass */
  admit(payment: Payment, credits: number, waits: Waits): Hold | Turned | Promise<Hold | Turned>;
  /** Hears what becomes of charges. */
  learn(event: ChargeEvent): void;
  /** Credits that holders owe who had them without the ledger's word on a balance. */
  exposure(): number;
}

/** Holders of which something is remembered; those that must be are not counted out. */
const maxStandings = 50_000;
/** Milliseconds for which nobody is asked for after a question that the ledger left unanswered. */
const awayMs = 1_000;
/** Milliseconds after which holds elsewhere may have ended, and the journal must be asked. */
const heardMs = 250;
/** Milliseconds after which what others owed is not believed any more, though nobody contradicted it. */
const copyMs = 10_000;
/** Times that a hold is asked for which does not fit, and by all that is known here should. */
const sharesAgain = 3;
const goodProofsKept = 4;
/** Charges on the wire whose time of sending is remembered. */
const maxSent = 10_000;

export function createGuard(parts: GuardParts): Guard {
  const { clock } = parts;
  const { elapsed } = clock;
  const standings = new Map<string, Standing>();
  let sweepAt = maxStandings;
  const questions = createQuestions<Standing>({
    atOnce: parts.maxQuestions,
    longestMs: parts.waitMs,
    clock,
  });
  /** The order of events; time is too coarse for it. */
  let events = 0;
  /** When charges on the wire were sent, in that order, and what their holder had spent by then. */
  const sentAt = new Map<string, { readonly at: number; readonly spent: number }>();
  let awayUntil = 0;
  /** With holds that are shared: of whom the journal was heard, the longest ago first. */
  const heard = new Set<Standing>();
  /** What all owed on credit, by the journal's last word, and when that was. */
  let toldExposure = { amount: 0, at: Number.NEGATIVE_INFINITY };
  // Sums over all standings, kept by `alter`.
  let journaledInAll = 0;
  let owedOnLine = 0;

  /** Every change to what a standing owes goes through here. */
  function alter(standing: Standing, change: (standing: Standing) => void) {
    count(standing, -1);
    change(standing);
    standing.journaled = Math.max(0, standing.journaled);
    standing.doubtful = Math.max(0, standing.doubtful);
    count(standing, 1);
  }

  function count(standing: Standing, sign: 1 | -1) {
    journaledInAll += sign * standing.journaled;
    if (standing.isOnLine) owedOnLine += sign * unsettled(standing);
  }

  function standingOf(planId: string, holderAddress: string): Standing {
    const key = holderKeyOf(planId, holderAddress);
    const found = standings.get(key);
    if (found) return found;
    if (standings.size >= sweepAt) {
      const now = elapsed();
      forgetCopies(now);
      const mayGo = (one: Standing) => !isBusy(one, now) && !questions.isUnderWay(one);
      const isStranger = (one: Standing) => !one.isAcquainted && mayGo(one);
      // Strangers do not make us forget who pays.
      const gone = dropOldest(standings, maxStandings / 8, isStranger);
      if (gone.length === 0) dropOldest(standings, maxStandings / 8, mayGo);
      // Where few may go, they are not looked for with each new one.
      sweepAt = Math.max(maxStandings, standings.size + maxStandings / 8);
    }
    const standing = newStanding(planId, holderAddress);
    standings.set(key, standing);
    return standing;
  }

  /** What charges in the journal owe whose holders are not in memory. */
  const owedByOthers = () => Math.max(0, parts.unsettledInJournal() - journaledInAll);
  /** What charges came to that the ledger refused lately, of holders whose balance was not known. */
  const lost: { readonly until: number; readonly amount: number }[] = [];
  function lostLately(): number {
    const now = elapsed();
    while (lost[0] && lost[0].until <= now) lost.shift();
    return lost.reduce((sum, { amount }) => sum + amount, 0);
  }

  function exposure(): number {
    const now = elapsed();
    forgetCopies(now);
    if (!parts.share) return owedOnLine + owedByOthers() + lostLately();
    const told = now - toldExposure.at <= copyMs ? toldExposure.amount : 0;
    return Math.max(told, owedOnLine + lostLately());
  }

  /** What counts before the journal is asked: where holds are shared, it decides unless it just has. */
  function exposureToGoBy(): number {
    if (!parts.share) return exposure();
    return elapsed() - toldExposure.at <= heardMs ? toldExposure.amount : 0;
  }

  function isHeard(standing: Standing) {
    standing.copiedAt = elapsed();
    heard.delete(standing);
    heard.add(standing);
  }

  /** Nobody tells here when others' charges and holds end: what was heard of them long ago is dropped. */
  function forgetCopies(now: number) {
    for (const standing of heard) {
      if (now - standing.copiedAt <= copyMs) return;
      heard.delete(standing);
      alter(standing, () => {
        standing.journaled = 0;
        standing.doubtful = 0;
        standing.onWire = 0;
        standing.elsewhere = 0;
      });
    }
  }

  /** The decision by what is known now; undefined where the ledger must be asked first. */
  function decide(
    standing: Standing,
    credits: number,
    proof: string,
    asked: WasAsked | undefined,
  ): Turned | "pass" | undefined {
    const now = elapsed();
    const isAnswered = asked === "asked";
    if (standing.blockedUntil > now && !isGood(standing, proof)) return { code: "holder-blocked" };
    if (asked === "unasked") return byTrust(standing, credits);
    if (!standing.isLoaded) return isAnswered ? untold(standing, credits) : undefined;
    const age = now - standing.toldAt;
    const isFresh = standing.isKnown && (isAnswered || age <= parts.balanceTtlMs);
    const isBroke = standing.brokeUntil > now;
    const mayFit = (available(standing) ?? 0) >= credits || mustAskJournal(standing);
    const canPay = standing.isKnown && !isBroke && mayFit;
    if (isFresh && canPay) return "pass";
    // Who could pay by an old balance is asked for at once; who could not has no line of credit either.
    const isRefused = !canPay && now < standing.settledUntil;
    const isSettled = isRefused || now < awayUntil;
    if (parts.balance === "ask" && !isAnswered && !isSettled) return undefined;
    const isTold = isFresh || (standing.isKnown && isRefused);
    return isTold ? poor(standing) : untold(standing, credits);
  }

  /** What was told last, less what was had since: old, and better than nothing. No line goes with it. */
  function byTrust(standing: Standing, credits: number): Turned | "pass" {
    const free = available(standing);
    if (free === undefined) return { code: "not-asked-in-time" };
    const mayFit = free >= credits || mustAskJournal(standing);
    return mayFit && standing.brokeUntil <= elapsed() ? "pass" : poor(standing);
  }

  /** The ledger does not say now what the holder has. */
  function untold(standing: Standing, credits: number): Turned | "pass" {
    if (parts.balance === "never") return byLine(standing, credits);
    const isAway = standing.isAway || elapsed() < awayUntil;
    if (isAway && parts.onLedgerDown === "refuse") return { code: "ledger-away" };
    if (standing.total === undefined) return byLine(standing, credits);
    const trusted = byTrust(standing, credits);
    // A ledger that is there, and tells no more, must not bind a holder to what it told once.
    return trusted === "pass" || isAway ? trusted : byLine(standing, credits);
  }

  /** Nobody says what the holder has. */
  function byLine(standing: Standing, credits: number): Turned | "pass" {
    alter(standing, () => {
      standing.isKnown = false;
      standing.isOnLine = true;
    });
    if (exposureToGoBy() + credits > parts.maxExposure) {
      parts.onExposureReached();
      return { code: "exposure-reached" };
    }
    if (standing.brokeUntil > elapsed()) return poor(standing);
    const isOverLine = unsettled(standing) + credits > parts.creditLine;
    if (isOverLine && !mustAskJournal(standing)) return { code: "exposure-reached" };
    return "pass";
  }

  /** Whether other processes may have freed credits since the journal was heard of. */
  function mustAskJournal({ heardAt }: Standing): boolean {
    return parts.share !== undefined && elapsed() - heardAt > heardMs;
  }

  function poor(standing: Standing): Turned {
    const free = available(standing);
    const code = "insufficient-credits";
    return free === undefined ? { code } : { code, balance: Math.max(0, free) };
  }

  function isGood({ goodProofs }: Standing, proof: string): boolean {
    return goodProofs.length > 0 && goodProofs.includes(digestOf(proof));
  }

  /** Asks the ledger and the journal. Never rejects. */
  async function ask(standing: Standing): Promise<WasAsked> {
    const { planId, holderAddress, spent } = standing;
    const askedAt = events;
    let askLedger = false;
    standing.beganAt = undefined;
    const asked = await questions.ask(() => {
      standing.beganAt = elapsed();
      // When it is its turn: those before it may have found out that the ledger is away.
      askLedger = parts.balance === "ask" && elapsed() >= awayUntil;
      return parts.ask({ planId, holderAddress, askLedger, isShared: parts.share !== undefined });
    }, standing.isAcquainted);
    if (asked.kind === "unasked") return "unasked";
    const known = asked.kind === "answered" ? asked.answer : undefined;
    const now = elapsed();
    const balance = known?.balance;
    const isAway = parts.balance === "ask" && !balance?.told && !balance?.answered;
    alter(standing, () => {
      standing.isAway = isAway;
      if (known) load(standing, known.account, askedAt);
      const before = { at: askedAt, spent: known?.spentBefore ?? spent };
      if (balance?.told) tellBalance(standing, balance.amount, before, now);
      else if (now - standing.toldAt > parts.balanceTtlMs) standing.isKnown = false;
    });
    // A ledger that does not tell will not do so in a moment.
    const isMute = balance?.told === false && balance.answered;
    standing.settledUntil = now + (isMute ? parts.balanceTtlMs : parts.refusalTtlMs);
    if (balance) parts.onBalance(balance);
    if (isAway && askLedger) awayUntil = now + awayMs;
    return "asked";
  }

  /** The journal's word on what is not settled replaces ours; what it refused before we came counts. */
  function load(standing: Standing, account: Account, askedAt: number) {
    hear(standing, account);
    const isFirst = !standing.isLoaded;
    standing.isLoaded = true;
    if (!isFirst) return;
    standing.refused = account.refused;
    // A clock that was set back does not make it longer.
    const left = (at: number) => Math.min(parts.blockForMs, at + parts.blockForMs - parts.now());
    const { credits, otherwise } = account.refused;
    if (credits !== null) refused(standing, "insufficient-credits", left(credits), askedAt, 0);
    if (otherwise !== null) refused(standing, "otherwise", left(otherwise), askedAt, 0);
  }

  function hear(standing: Standing, account: Account) {
    standing.journaled = account.unsettled;
    standing.doubtful = account.doubtful;
    if (!parts.share) return;
    isHeard(standing);
    if (account.spent < standing.spentWhenTold) {
      // What was spent long ago is forgotten, and nothing can be reckoned from what is left.
      standing.total = undefined;
      standing.isKnown = false;
      standing.isOnLine = true;
      standing.settledUntil = 0;
    }
    standing.spent = account.spent;
    standing.onWire = account.onWire;
  }

  /** Refusals that other processes met count here, too. */
  function hearRefusals(standing: Standing, { refused: found }: Account) {
    const { refused: known } = standing;
    standing.refused = found;
    const { blockForMs } = parts;
    if (found.credits !== null && found.credits !== known.credits) {
      standing.settledUntil = 0;
      refused(standing, "insufficient-credits", blockForMs, events, 0);
    }
    if (found.otherwise !== null && found.otherwise !== known.otherwise) {
      refused(standing, "otherwise", blockForMs, events, 0);
    }
  }

  /** Makes a hold known to all processes, if it fits with what they have. */
  async function share(
    standing: Standing,
    { proof }: Payment,
    redemptionId: string,
    credits: number,
    waits: Waits,
  ): Promise<Turned | Late | undefined> {
    const { creditLine, maxExposure, blockForMs, share: ask } = parts;
    if (!ask) return undefined;
    for (let tries = 0; tries < sharesAgain; tries += 1) {
      const { planId, holderAddress, isOnLine, total, refused } = standing;
      const within =
        !isOnLine && total !== undefined ? { total } : { creditLine, maxExposure, blockForMs };
      const asked = { redemptionId, planId, holderAddress, credits, within, refused };
      const answer = await waits.within(ask(asked));
      if (answer === late) return late;
      alter(standing, () => {
        hear(standing, answer.account);
        standing.elsewhere = answer.elsewhere;
        standing.heardAt = elapsed();
      });
      if (answer.exposure !== null) toldExposure = { amount: answer.exposure, at: elapsed() };
      if (answer.isHeld) return undefined;
      hearRefusals(standing, answer.account);
      if (answer.exposure !== null && answer.exposure + credits > maxExposure) {
        parts.onExposureReached();
        return { code: "exposure-reached" };
      }
      // What this request has on hold counts already.
      let decision = decide(standing, 0, proof, undefined);
      if (!decision) decision = decide(standing, 0, proof, await askWithin(standing, waits));
      if (decision !== "pass") return decision ?? { code: "ledger-away" };
    }
    return standing.isOnLine ? { code: "exposure-reached" } : poor(standing);
  }

  /** The ledger refused a charge: whoever sent it has had the answer for nothing. */
  function refused(
    standing: Standing,
    reason: string,
    forMs: number,
    when: number,
    amount: number,
  ) {
    const now = elapsed();
    const until = now + forMs;
    if (reason === "insufficient-credits") {
      const before = standing.brokeUntil > now ? standing.lacking : 0;
      standing.lacking = Math.max(before, amount);
      standing.brokeUntil = until;
      standing.brokeAt = when;
    } else standing.blockedUntil = Math.max(standing.blockedUntil, until);
  }

  /**
   * One question at a time for each holder; everyone else waits for the same answer, each for as long as
   * they may.
   */
  async function askWithin(standing: Standing, waits: Waits): Promise<WasAsked> {
    const asked = await waits.within(questions.share(standing, () => ask(standing)));
    if (asked !== late) return asked;
    const { beganAt } = standing;
    // Only one that had its time says that the ledger is too slow, and might as well be away.
    if (beganAt === undefined || elapsed() - beganAt < parts.waitMs / 2) return "unasked";
    alter(standing, () => {
      standing.isAway = true;
      if (elapsed() - standing.toldAt > parts.balanceTtlMs) standing.isKnown = false;
    });
    return "asked";
  }

  const take = (standing: Standing, credits: number, payment: Payment, waits: Waits) =>
    takeHold(standing, credits, payment, waits, {
      alter,
      decide,
      askWithin,
      share: parts.share ? share : undefined,
    });

  function admit(
    payment: Payment,
    credits: number,
    waits: Waits,
  ): Hold | Turned | Promise<Hold | Turned> {
    const { planId, holderAddress, proof } = payment;
    const standing = standingOf(planId, holderAddress);
    if (credits === 0) return take(standing, 0, payment, waits);
    const decision = decide(standing, credits, proof, undefined);
    if (decision === "pass") return take(standing, credits, payment, waits);
    if (decision) return decision;
    return askWithin(standing, waits).then((asked) => {
      const then = decide(standing, credits, proof, asked) ?? { code: "ledger-away" };
      return then === "pass" ? take(standing, credits, payment, waits) : then;
    });
  }

  function learn(event: ChargeEvent) {
    const { holderKey, amount } = event;
    const standing = standings.get(holderKey);
    events += 1;
    if (event.kind === "sending") {
      sentAt.set(event.redemptionId, { at: events, spent: standing?.spent ?? 0 });
      if (sentAt.size > maxSent) dropOldest(sentAt, maxSent / 8);
      if (standing) standing.onWire += amount;
    }
    if (event.kind === "settled" || event.kind === "put-back") {
      const sent = sentAt.get(event.redemptionId);
      sentAt.delete(event.redemptionId);
      if (standing && sent) {
        standing.onWire = Math.max(0, standing.onWire - amount);
      }
      if (standing && event.kind === "settled") settle(standing, event, sent);
    }
    if (!standing) return;
    alter(standing, () => {
      if (event.kind === "handed-over") standing.handed += amount;
      if (event.kind === "accepted") {
        standing.handed -= amount;
        standing.journaled += amount;
        // Whoever sends it may be another process.
        if (parts.share) isHeard(standing);
      }
      if (event.kind === "put-back") {
        standing.doubtful -= event.was.doubtful;
        standing.journaled += amount - event.was.unsettled;
      }
    });
  }

  function settle(
    standing: Standing,
    event: Extract<ChargeEvent, { kind: "settled" }>,
    sent: { readonly at: number; readonly spent: number } | undefined,
  ) {
    const { amount, outcome } = event;
    alter(standing, () => {
      standing.doubtful -= event.was.doubtful;
      standing.journaled -= event.was.unsettled;
      if (outcome.status === "unresolved" && outcome.wasSent) standing.doubtful += amount;
    });
    // A charge that was refused, or never sent, burned nothing; one that was in doubt is spent already.
    const isFree =
      outcome.status === "failed" || (outcome.status === "unresolved" && !outcome.wasSent);
    const isSpent = !isFree && event.was.doubtful === 0;
    if (isSpent) standing.spent += amount;
    const told = outcome.status === "completed" ? outcome.remainingBalance : null;
    // Where others spend, too, nobody here knows what was spent by the time of sending.
    if (told !== null && sent && !parts.share) {
      // The ledger has taken this one off.
      const asked = { at: sent.at, spent: sent.spent + (isSpent ? amount : 0) };
      alter(standing, () => tellBalance(standing, told, asked, elapsed()));
    }
    if (outcome.status === "completed") standing.isAcquainted = true;
    if (outcome.status === "completed" && outcome.proof !== null) remember(standing, outcome.proof);
    if (outcome.status !== "failed") return;
    // A person's decision says nothing about what comes next, and that it came too late is not the holder's fault.
    if (outcome.byPerson || outcome.reason === "payment-expired") return;
    standing.settledUntil = 0;
    if (standing.isOnLine) lost.push({ until: elapsed() + parts.blockForMs, amount });
    refused(standing, outcome.reason, parts.blockForMs, events, amount);
    // That a proof has paid says nothing where one of those is refused; or one that is not known here.
    const hadPaid = outcome.proof === null || isGood(standing, outcome.proof);
    if (outcome.reason !== "insufficient-credits" && hadPaid) standing.goodProofs = [];
  }

  function remember(standing: Standing, proof: string) {
    const digest = digestOf(proof);
    if (standing.goodProofs.includes(digest)) return;
    standing.goodProofs = [digest, ...standing.goodProofs].slice(0, goodProofsKept);
  }

  return { admit, learn, exposure };
}

function digestOf(proof: string): string {
  return createHash("sha256").update(proof).digest("base64");
}
