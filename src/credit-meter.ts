/** The composition root: wires the rooms. The only file that sees them all. */

import express, { type Request, type RequestHandler, type Router } from "express";
import pino from "pino";
import { now, systemClock } from "./clock.ts";
import { CreditMeterError } from "./errors.ts";
import { createGuard } from "./guard/guard.ts";
import { createMeter, holdOf } from "./middleware/meter.ts";
import { readHeaders } from "./middleware/payment.ts";
import { createReceipts } from "./middleware/receipts.ts";
import { createRouteTable } from "./middleware/route-table.ts";
import { networkOf } from "./middleware/x402/payment-required.ts";
import { createX402 } from "./middleware/x402/x402.ts";
import { openDoor } from "./open-door.ts";
import { createOperator, type OperatedRedemptions } from "./operator.ts";
import {
  type CreditMeterOptions,
  type Logger,
  type RoutePrice,
  readOptions,
  readPrice,
} from "./options.ts";
import { atExit } from "./redeemer/at-exit.ts";
import { createRedemptions, type RefusalToOpen, receiptOf } from "./redeemer/redemptions.ts";
import type { Redemption } from "./redemption.ts";
import { createReport } from "./report.ts";

/** What {@link creditMeter} returns: a middleware for `app.use`, and what goes with it. */
export interface CreditMeter extends RequestHandler {
  /**
   * A middleware for one route, with a price that wins over the table's.
   *
   * @throws {CreditMeterError} `price-invalid` at once, while the program starts
   * @example
   * ```ts
   * import express from "express";
   * import { creditMeter } from "express-credit-meter";
   *
   * const meter = creditMeter({ environment: "sandbox", plans: ["1059"] });
   * const app = express();
   * app.post("/v1/images", meter.charge(10), (_req, res) => res.json({ url: "…" }));
   * ```
   */
  charge(price: Exclude<RoutePrice, "free">): RequestHandler;
  /**
   * Calls the listener with every redemption that settles: completed, failed, unresolved or skipped.
   * Best effort: what the listener throws is logged and forgotten.
   */
  on(event: "redemption", listener: RedemptionListener): this;
  /** Takes a listener off again. */
  off(event: "redemption", listener: RedemptionListener): this;
  /** Redemptions in the journal, and what a person may decide about unresolved ones. */
  readonly redemptions: OperatedRedemptions;
  /** How it goes: for a health check, or to see why requests are refused. */
  health(): MeterHealth;
  /**
   * A router that tells whoever holds the id of a redemption what became of it: `GET /:id`, and
   * `GET /:id?wait=5` to wait up to so many seconds (30 at the most). Mount it before the meter.
   *
   * @example
   * ```ts
   * import express from "express";
   * import { creditMeter } from "express-credit-meter";
   *
   * const app = express();
   * const meter = creditMeter({ environment: "sandbox", plans: ["1059"] });
   * app.use("/redemptions", meter.receipts());
   * app.use(meter);
   * ```
   */
  receipts(): Router;
  /**
   * Waits until every request admitted so far is answered and its charge settled: for tests, or
   * before a report. Waits without a limit where the ledger is away.
   */
  flush(): Promise<void>;
  /**
   * Refuses new metered requests with 503, waits for those under way and their charges until the
   * deadline, then ends the connections to the ledger. May be called more than once; the first
   * deadline counts. Never ends the process.
   *
   * @returns redemptions that were not settled by the deadline. Each is logged as an error.
   */
  close(options?: CloseOptions): Promise<{ readonly left: readonly Redemption[] }>;
}

/** Options of {@link CreditMeter.close}. */
export interface CloseOptions {
  /** Milliseconds to wait. Default: 10,000. */
  readonly deadlineMs?: number;
}

/** Listens to settled redemptions. May be async; its rejection is logged. */
export type RedemptionListener = (redemption: Redemption) => unknown;

/** How a meter is doing. */
export interface MeterHealth {
  /** Whether new metered requests are admitted. */
  readonly accepting: boolean;
  /** The code with which they are refused; null while they are admitted. */
  readonly refusing: RefusalToOpen | null;
  /**
   * What is wrong with the journal, or with the way to the ledger so that only a person can mend it, in one
   * sentence; null where nothing is.
   */
  readonly problem: string | null;
  /** Why sending pauses, as in the log; null while it does not. */
  readonly paused: string | null;
  /** Charges in the journal that wait to be sent: how many, and of how many bytes. */
  readonly pending: number;
  readonly pendingBytes: number;
  /** ISO 8601 time since which the oldest of them waits; null where none does. */
  readonly oldestPendingAt: string | null;
  /** Charges on the wire. */
  readonly sending: number;
  /** Charges that a person must decide about. */
  readonly unresolved: number;
  /** Credits that holders owe this process whose balance the ledger does not tell; see `maxExposure`. */
  readonly exposure: number;
}

const defaultDeadlineMs = 10_000;

/**
 * Makes a meter: a middleware that charges the plan credits of whoever sends a request, after its
 * response has gone.
 *
 * @throws {CreditMeterError} `option-invalid`, `api-key-missing`, `environment-unknown`,
 * `route-invalid`, `price-invalid`: the program must not start with a price that it cannot charge
 * @example
 * ```ts
 * import express from "express";
 * import { creditMeter } from "express-credit-meter";
 *
 * const meter = creditMeter({
 *   environment: "sandbox", // the key comes from NVM_API_KEY
 *   plans: ["105906633592154016712415751065229"],
 *   routes: { "POST /v1/embeddings": 2 },
 * });
 * const app = express();
 * app.use(meter);
 * app.post("/v1/embeddings", (_req, res) => res.json({ data: [] }));
 * ```
 */
export function creditMeter(options: CreditMeterOptions): CreditMeter {
  const settings = readOptions(options, process.env);
  const logger = settings.logger ?? defaultLogger();
  const listeners = new Set<RedemptionListener>();
  const report = createReport(logger, listeners);
  const routes = createRouteTable(
    settings.routes,
    (value) => value === "free",
    (value) => (value !== "free" && typeof value.price === "number" ? value.price : undefined),
  );

  const lasting = settings.journal !== "memory";
  const redemptions = createRedemptions({
    ...settings,
    lasting,
    environment: settings.environment.name === "live" ? "production" : "test",
    openDoor: (tell) => openDoor(settings, report, tell),
    onSettled: report.settled,
    onAnswer: report.answered,
    onUnsent: report.unsent,
    onCharge: (event) => guard.learn(event),
    onHealth: report.health,
    onLateAnswer: report.lateAnswer,
    onRecovered: report.recovered,
    now,
    elapsed: systemClock.elapsed,
  });
  const guard = createGuard({
    ...settings.guard,
    ask: (question) => redemptions.door.ask("account", question),
    share:
      settings.guard.scope === "fleet" ? (asked) => redemptions.door.ask("hold", asked) : undefined,
    onBalance: report.balance,
    onExposureReached: report.exposureReached,
    unsettledInJournal: () => redemptions.health()?.totals.credits ?? 0,
    waitMs: settings.limits.waitMs,
    clock: systemClock,
    now,
  });
  const { payment } = settings;
  const x402 =
    settings.x402 &&
    createX402({
      ...settings.x402,
      network: networkOf(settings.environment.name),
      passesUnverified: settings.guard.onLedgerDown === "credit-line",
      waitMs: settings.limits.waitMs,
      clock: systemClock,
      ask: (question) => redemptions.door.ask("verify", question),
    });
  const meter = createMeter({
    ...settings,
    routes,
    x402,
    readPayment: x402
      ? x402.read
      : typeof payment === "function"
        ? { by: payment }
        : (req) => readHeaders(req, payment),
    guard,
    verifyProof: settings.guard.verifyProof,
    singleUse: settings.guard.proofs === "single-use",
    redemptions,
    strict: settings.durability === "strict",
    waitMs: settings.limits.waitMs,
    clock: systemClock,
    onMismatch: report.mismatch,
    onUntold: report.untold,
    onFault: report.fault,
    checkSetup: checkExpress,
  });
  const takeOff = lasting ? undefined : atExit(redemptions.forsake);
  if (settings.plans === "any") report.anyPlan();
  if (settings.guard.onLedgerDown === "credit-line") {
    const { creditLine } = settings.guard;
    const above = Object.entries(settings.routes).filter(
      ([, row]) => row !== "free" && holdOf(row) > creditLine,
    );
    report.aboveLine(
      above.map(([key]) => key),
      creditLine,
    );
  }
  if (isPlainHttp(settings.environment.baseUrl)) report.plainHttp(settings.environment.baseUrl);

  let closed: ReturnType<CreditMeter["close"]> | undefined;
  async function close({ deadlineMs = defaultDeadlineMs }: CloseOptions = {}) {
    const left = await redemptions.close(deadlineMs);
    takeOff?.();
    report.unusedRoutes(routes.unused().map((row) => row.key));
    return { left };
  }

  const handler: RequestHandler = (req, res, next) => meter.byTable(req, res, next);
  return Object.assign(handler, {
    charge: (price: Exclude<RoutePrice, "free">) =>
      meter.atRoute(readPrice(price, "the price of meter.charge()")),
    on(this: CreditMeter, _event: "redemption", listener: RedemptionListener) {
      listeners.add(listener);
      return this;
    },
    off(this: CreditMeter, _event: "redemption", listener: RedemptionListener) {
      listeners.delete(listener);
      return this;
    },
    redemptions: createOperator(redemptions.door.ask),
    receipts: () =>
      createReceipts({
        live: redemptions.live,
        onSettled: redemptions.onSettled,
        async read(id) {
          const [record] = await redemptions.door.ask("read", { redemptionIds: [id] });
          return record && receiptOf(record);
        },
      }),
    health(): MeterHealth {
      const refusing = redemptions.refusal() ?? null;
      const health = redemptions.health();
      const oldest = health?.totals.oldestPendingAt ?? null;
      return {
        accepting: refusing === null,
        refusing,
        problem: health?.problem ?? health?.fault ?? null,
        paused: health?.paused ?? null,
        pending: health?.totals.pending ?? 0,
        pendingBytes: health?.totals.pendingBytes ?? 0,
        oldestPendingAt: oldest === null ? null : new Date(oldest).toISOString(),
        sending: health?.totals.sending ?? 0,
        unresolved: health?.totals.unresolved ?? 0,
        exposure: guard.exposure(),
      };
    },
    flush: redemptions.flush,
    close(options?: CloseOptions) {
      closed ??= close(options);
      return closed;
    },
  });
}

function defaultLogger(): Logger {
  return pino({ name: "express-credit-meter" });
}

/**
 * The price table is matched by the Express that this package finds; it must be of the same major
 * version as the application's, whose paths mean something else.
 */
function checkExpress(req: Request): CreditMeterError | undefined {
  // Only Express 4 applications have `lazyrouter`.
  const ours = "lazyrouter" in express.application;
  const theirs = "lazyrouter" in req.app;
  if (ours === theirs) return undefined;
  const name = (isFour: boolean) => (isFour ? "Express 4" : "Express 5");
  return new CreditMeterError(
    "express-mismatch",
    `The application runs on ${name(theirs)}, but express-credit-meter found ${name(ours)}. Install one version of Express ("npm ls express" shows where the other comes from).`,
  );
}

/** Whether the API key would cross a network in the clear. */
function isPlainHttp(baseUrl: string): boolean {
  const { protocol, hostname } = new URL(baseUrl);
  return protocol === "http:" && !/^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname);
}
