import { setMaxListeners } from "node:events";
import { setImmediate } from "node:timers/promises";
import { z } from "zod";
import { type Burn, type BurnFilter, type Movement, openAccounts } from "./accounts.ts";
import { createApp } from "./app.ts";
import type { Audit } from "./audit.ts";
import { check } from "./check.ts";
import { maxCredits } from "./database.ts";
import { createEndpoints, tooMany } from "./endpoints.ts";
import { createFaults } from "./fault-plan.ts";
import type { Endpoint, FaultDetails, FaultName, FaultRates, Script } from "./faults.ts";
import { createGate } from "./interference.ts";
import { createKeys } from "./keys.ts";
import {
  type AnswerStyle,
  type IdempotencyMode,
  type LedgerBuyer,
  type LedgerOptions,
  modes,
  type RefusalStyle,
  type RequestIds,
  readBuyer,
  readOptions,
} from "./options.ts";
import { listen } from "./sockets.ts";
import { createX402 } from "./x402/endpoints.ts";

/**
 * How often each endpoint gave each answer: `requests().redeem[200] ?? 0`. `dropped` counts
 * connections that were cut instead; `other` holds unknown paths and unreadable bodies.
 */
export type RequestCounts = Record<Endpoint | "other", Partial<Record<number | "dropped", number>>>;

/** An embedded ledger that listens. */
export interface Ledger {
  /** Where a client finds it: `http://127.0.0.1:<port>/api/v1`. */
  readonly baseUrl: string;
  readonly port: number;
  /** The first of its keys. */
  readonly key: string;
  /** Whether a repeated `Idempotency-Key` burns once. What was answered under `ignore` is not remembered. */
  idempotency: IdempotencyMode;
  /** How a redemption is answered. */
  answers: AnswerStyle;
  /** What an `agentRequestId` is worth. What was settled under `ignore` is not remembered. */
  requestIds: RequestIds;
  /** How verify and settle refuse a token. */
  refusals: RefusalStyle;
  /**
   * Lets a holder ask for x402 access tokens; returns the key to ask with, the same for the same
   * holder. Not kept in the file: say it again after a restart.
   *
   * @example
   * ```ts
   * import { createLedger } from "express-credit-meter/ledger";
   *
   * const ledger = await createLedger();
   * const holderAddress = `0x${"ab".repeat(20)}`;
   * ledger.mint({ planId: "1", holderAddress, amount: 100 });
   * const key = ledger.addBuyer(holderAddress);
   * const answer = await fetch(`${ledger.baseUrl}/x402/permissions`, {
   *   method: "POST",
   *   headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
   *   body: JSON.stringify({
   *     accepted: { scheme: "nvm:erc4337", network: "eip155:84532", planId: "1", extra: {} },
   *   }),
   * });
   * console.log(await answer.json()); // { accessToken: "…" }, for the header payment-signature
   * ```
   */
  addBuyer(buyer: string | LedgerBuyer): string;
  /** Gives a holder credits, 1 to `Number.MAX_SAFE_INTEGER`; returns the new balance in credits. */
  mint(movement: Movement): number;
  /** A holder's credits on a plan; 0 when the plan or the holder is unknown. */
  balance(planId: string, holderAddress: string): number;
  /** Burns in the order in which they were applied; `limit` takes only the first so many. */
  burns(filter?: BurnFilter & { limit?: number }): Burn[];
  /** The number of burns, for runs that are too large to list. */
  countBurns(filter?: BurnFilter): number;
  /** How requests were answered so far. */
  requests(): RequestCounts;
  /** Checks that the accounts agree and returns their totals; throws an error that lists what does not. */
  audit(): Audit;
  /** Faults by chance, in place of those before: `setFaults({})` ends them. The script stays. */
  setFaults(rates: FaultRates): void;
  /**
   * Puts a fault at the end of the script: the next requests of its endpoint meet what the script
   * says, in order and nothing by chance, until it is used up.
   *
   * @example
   * ```ts
   * import { createLedger } from "express-credit-meter/ledger";
   *
   * const ledger = await createLedger();
   * ledger.failNext("drop-after-applying", { times: 2 });
   * ledger.failNext("error-before-applying", { status: 503, on: "balance" });
   * ```
   */
  failNext<Name extends FaultName>(name: Name, script?: Script & FaultDetails[Name]): void;
  /** Resolves as soon as at least `count` (default 1) requests hang. */
  hanging(count?: number): Promise<void>;
  /** Lets go of all that hang; resolves to their number once they have gone on. */
  release(): Promise<number>;
  /** Stops listening and cuts every connection. What has begun to wait is still applied. */
  goAway(): Promise<void>;
  /** Listens again on the same port. */
  comeBack(): Promise<void>;
  /** Ends every connection and closes the accounts. What still waits is not applied. Idempotent. */
  close(): Promise<void>;
  /** The same as `close`. */
  [Symbol.asyncDispose](): Promise<void>;
}

const movementSchema = z.strictObject({
  planId: z.string().min(1),
  holderAddress: z.string().min(1),
  amount: z.int().min(1).max(maxCredits),
});

/**
 * Starts a ledger with Nevermined's API for redeeming, minting, balances and x402, on a socket of
 * its own: for trying out, tests and benchmarks. Credits are whole numbers in double-entry accounts.
 *
 * @example
 * ```ts
 * import { createLedger } from "express-credit-meter/ledger";
 *
 * const ledger = await createLedger();
 * ledger.mint({ planId: "did:nv:demo", holderAddress: "0xAb5801a7", amount: 100 });
 * // A client redeems at ledger.baseUrl with the key ledger.key …
 * ledger.burns(); // [{ burnId: 2, planId: "did:nv:demo", amount: 5, … }]
 * await ledger.close();
 * ```
 */
export async function createLedger(options: LedgerOptions = {}): Promise<Ledger> {
  const read = readOptions(options);
  const faults = createFaults(read.seed);
  faults.set(read.faults);
  const keys = createKeys(read.keys);
  for (const buyer of read.buyers) keys.addBuyer(buyer);
  const accounts = openAccounts(read.path, read.now);
  const gate = createGate();
  const stop = new AbortController();
  // Whatever waits listens to it: no leak, of which Node would warn at eleven.
  setMaxListeners(0, stop.signal);
  const counts: RequestCounts = {
    redeem: {},
    mint: {},
    balance: {},
    permissions: {},
    verify: {},
    settle: {},
    other: {},
  };
  let { idempotency, answers, requestIds, refusals } = read;

  const endpoints = createEndpoints(accounts, read, () => answers);
  const x402 = createX402(accounts, read, {
    answers: () => answers,
    refusals: () => refusals,
    requestIds: () => requestIds,
  });
  const app = createApp(endpoints, x402, keys.judge, {
    accounts,
    faults,
    gate,
    honours: (name) =>
      name === "agentRequestId" ? requestIds !== "ignore" : idempotency === "honour",
    count: (endpoint, status) => {
      counts[endpoint][status] = (counts[endpoint][status] ?? 0) + 1;
    },
    signal: stop.signal,
  });
  const listener = await listen(app, read, faults.drawConnection).catch((error: unknown) => {
    accounts.close();
    throw error;
  });

  function opened() {
    if (stop.signal.aborted) {
      throw new Error("The ledger is closed: ask it before close(), or create another.");
    }
    return accounts;
  }
  let closing: Promise<void> | undefined;
  async function end() {
    stop.abort();
    gate.close();
    await listener.leave();
    accounts.close();
  }

  const ledger: Ledger = {
    baseUrl: `http://${reachable(listener.host)}:${listener.port}/api/v1`,
    port: listener.port,
    key: read.keys[0]?.key ?? "",
    get idempotency() {
      return idempotency;
    },
    set idempotency(mode) {
      idempotency = check(modes.idempotency, mode, "options");
    },
    get answers() {
      return answers;
    },
    set answers(style) {
      answers = check(modes.answers, style, "options");
    },
    get requestIds() {
      return requestIds;
    },
    set requestIds(mode) {
      requestIds = check(modes.requestIds, mode, "options");
    },
    get refusals() {
      return refusals;
    },
    set refusals(style) {
      refusals = check(modes.refusals, style, "options");
    },
    addBuyer(buyer) {
      const known = readBuyer(buyer);
      keys.addBuyer(known);
      return known.key;
    },
    mint(movement) {
      const checked = check(movementSchema, movement, "credits");
      const origin = { idempotencyKey: null, agentRequestId: null, correlationId: null };
      const minted = opened().commit(() => accounts.mint(checked, origin));
      if (!minted.applied) throw new RangeError(tooMany(minted.balance));
      return minted.balance;
    },
    balance: (planId, holderAddress) => opened().balance(planId, holderAddress) ?? 0,
    burns: (filter = {}) => opened().burns(filter),
    countBurns: (filter = {}) => opened().countBurns(filter),
    requests: () => structuredClone(counts),
    audit: () => opened().audit(),
    setFaults: faults.set,
    failNext: (name, script = {} as never) => faults.failNext(name, script),
    hanging: (count = 1) => gate.holding(count),
    async release() {
      const count = gate.release();
      await setImmediate();
      return count;
    },
    goAway: listener.leave,
    async comeBack() {
      opened();
      await listener.comeBack();
    },
    close() {
      closing ??= end();
      return closing;
    },
    [Symbol.asyncDispose]: () => ledger.close(),
  };
  return ledger;
}

/** A host that a client can connect to: a wildcard is not one. */
function reachable(host: string): string {
  if (host === "0.0.0.0" || host === "::") return "localhost";
  return host.includes(":") ? `[${host}]` : host;
}
