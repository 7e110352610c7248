/**
 * The middleware: finds the price of a request, admits it or refuses it, and when its response has
 * ended decides what it costs. Everything up to `next()` is synchronous unless the operator's own
 * reader or list of plans is not.
 */

import type { NextFunction, Request, RequestHandler, Response } from "express";
import { type Clock, createWaits, late, type Waits } from "../clock.ts";
import { CreditMeterError, type RefusalCode } from "../errors.ts";
import type { Guard } from "../guard/guard.ts";
import type { Hold, Turned } from "../guard/hold.ts";
import { listPlans, type Plans } from "../guard/plans.ts";
import type { ProofVerdict, VerifyProof } from "../guard/proofs.ts";
import type { Redemptions } from "../redeemer/redemptions.ts";
import type { Payment, Redemption } from "../redemption.ts";
import { notedUsage } from "../usage/usage.ts";
import { type Admission, createRemember, type Refusal, refusalOf } from "./admission.ts";
import { type Delivery, watchDelivery } from "./delivery.ts";
import { checkPayment, type PaymentReader, type PaymentReading } from "./payment.ts";
import {
  type ChargeWhen,
  type Price,
  type Priced,
  priceError,
  runPrice,
  skip,
  skipReason,
} from "./pricing.ts";
import { answer, createProblem, type Known, type Refuse } from "./refusal.ts";
import type { RouteTable } from "./route-table.ts";
import type { Agreement, X402 } from "./x402/x402.ts";

/** The price of a route and what goes with it. */
export interface PricedRoute {
  readonly price: Price;
  /** Credits to set aside while a request runs, where the price is computed. */
  readonly hold?: number | undefined;
  readonly chargeWhen?: ChargeWhen | undefined;
}

export interface MeterParts {
  readonly routes: RouteTable<PricedRoute | "free">;
  readonly unlisted: "free" | "refuse";
  /** Reads the payment from headers, or by the operator's function. */
  readonly readPayment: ((req: Request) => PaymentReading) | { readonly by: PaymentReader };
  readonly plans: Plans;
  /** Undefined where requests are paid with a plan, a holder and a proof. */
  readonly x402: X402 | undefined;
  readonly guard: Guard;
  readonly verifyProof: VerifyProof | undefined;
  /** Whether a proof pays once. */
  readonly singleUse: boolean;
  readonly redemptions: Redemptions;
  readonly refuse: Refuse | undefined;
  readonly chargeWhen: ChargeWhen | undefined;
  /** Milliseconds that a computed price waits for the handler after its client has gone. */
  readonly abortGraceMs: number;
  /** Whether a redemption must be durable before its handler runs. */
  readonly strict: boolean;
  /** Milliseconds that a request waits for ledger and journal in all, before it is refused. */
  readonly waitMs: number;
  readonly clock: Clock;
  /** Tells that a route answered whose row in the table is not the one that was matched. */
  readonly onMismatch: (mismatch: {
    method: string;
    path: string;
    matched: string | undefined;
    reached: string;
  }) => void;
  /** Called with the first request. */
  readonly checkSetup: (req: Request) => CreditMeterError | undefined;
}

/** What a metered request carries: which meter admitted it, and the price as it stands. */
interface Metered {
  readonly meter: object;
  readonly redemption: Redemption;
  readonly hold: Hold;
  readonly waits: Waits;
  readonly isVerified: boolean;
  /** Undefined where any are accepted. */
  readonly plans: readonly string[] | undefined;
  route: PricedRoute;
}

/** Registered, so that two copies of this package on one request see each other. */
const meteredKey = Symbol.for("express-credit-meter.metered");

interface MeteredRequest extends Request {
  [meteredKey]?: Metered;
}

/** Makes a request that was admitted all the same cost nothing. */
export function neverCharge(req: MeteredRequest): void {
  const metered = req[meteredKey];
  if (metered) metered.route = { price: 0 };
}

export interface Meter {
  /** For `app.use`: prices by the table. */
  readonly byTable: RequestHandler;
  /** For one route: this price, instead of the table's. */
  readonly atRoute: (route: PricedRoute) => RequestHandler;
}

export function createMeter(parts: MeterParts): Meter {
  const { redemptions, guard } = parts;
  const remember = createRemember(parts);
  const self = {};
  let setupChecked = false;

  /** Express's error handler answers what this returns. */
  function setupFault(req: Request): CreditMeterError | undefined {
    if (setupChecked) return undefined;
    const fault = parts.checkSetup(req);
    setupChecked = fault === undefined;
    return fault;
  }

  function byTable(req: MeteredRequest, res: Response, next: NextFunction) {
    const fault = setupFault(req);
    if (fault) return next(fault);
    let row: ReturnType<typeof parts.routes.match>;
    try {
      row = parts.routes.match(req);
    } catch (error) {
      return next(error);
    }
    res.once("finish", () => {
      const reached = parts.routes.mismatch(req, row);
      if (reached) {
        const path = req.originalUrl.split("?", 1)[0] ?? "";
        parts.onMismatch({ method: req.method, path, matched: row?.key, reached: reached.key });
      }
    });
    if (row && row.value !== "free") return meterRequest(req, res, next, row.value, row.key);
    if (!row && parts.unlisted === "refuse" && req.method !== "OPTIONS") {
      return refuse(req, res, next, "route-unlisted", "This API does not offer that route.");
    }
    next();
  }

  function atRoute(route: PricedRoute): RequestHandler {
    return (req: MeteredRequest, res, next) => {
      const fault = setupFault(req);
      if (fault) return next(fault);
      if (req.method === "OPTIONS") return next();
      meterRequest(
        req,
        res,
        next,
        route,
        `${req.method} ${req.baseUrl}${String(req.route?.path ?? req.path)}`,
      );
    };
  }

  function meterRequest(
    req: MeteredRequest,
    res: Response,
    next: NextFunction,
    route: PricedRoute,
    label: string,
  ) {
    const metered = req[meteredKey];
    if (metered && metered.meter !== self) {
      return next(
        new CreditMeterError(
          "two-meters",
          "Two meters would charge this request. Create one meter, mount it once with app.use(meter), and use its own meter.charge() at routes.",
        ),
      );
    }
    if (metered) return reprice(req, res, next, metered, route);
    const known = knownPrice(route);
    whenReady(readPayment(parts.readPayment, req), next, (reading) => {
      if (!reading.ok && reading.code === "payment-malformed") {
        return refuse(req, res, next, reading.code, reading.detail, known);
      }
      whenReady(askPlans(parts.plans), next, (plans) => {
        const offer = plans ? { ...known, plans } : known;
        if (!reading.ok) return refuse(req, res, next, reading.code, reading.detail, offer);
        if (plans && !plans.includes(reading.payment.planId)) {
          const detail =
            "This API does not sell the plan of the payment. Pay with one of its plans.";
          return refuse(req, res, next, "plan-not-sold", detail, offer);
        }
        const { payment } = reading;
        // Without room the journal is behind, or not open yet, and what it has not acknowledged must
        // not grow.
        const waits = createWaits(parts.clock, parts.waitMs);
        const room = redemptions.hasRoom() || waits.within(redemptions.room(waits.left()));
        whenReady(room, next, () => {
          whenReady(askVerdict(payment, req), next, (verdict) => {
            if (verdict === false) {
              const detail = "The proof of the payment is not valid for its holder and plan.";
              return refuse(req, res, next, "proof-invalid", detail, offer);
            }
            const turn = (turned: Turned) =>
              turnBack(req, res, next, refusalOf(turned, verdict !== undefined), offer);
            const credits = holdOf(route);
            whenReady(guard.admit(payment, credits, waits), next, (admitted) => {
              if ("code" in admitted) return turn(admitted);
              const go = (hold: Hold, agreement: Agreement | undefined) => {
                const admission = { payment, verdict, plans, hold, agreement, waits };
                enter(req, res, next, admission, route, label);
              };
              const agreeing = parts.x402?.agree(req, payment, plans ?? [], credits, waits);
              if (!isPromise(agreeing)) return go(admitted, agreeing);
              // Anybody can name a holder: until the ledger has verified the token, nothing is set aside.
              admitted.end();
              whenReady(agreeing, next, (agreement) => {
                if ("code" in agreement) return turnBack(req, res, next, agreement, offer);
                whenReady(guard.admit(payment, credits, waits), next, (hold) => {
                  if ("code" in hold) return turn(hold);
                  go(hold, agreement);
                });
              });
            });
          });
        });
      });
    });
  }

  function askVerdict(payment: Payment, req: Request) {
    const { verifyProof } = parts;
    if (!verifyProof) return undefined;
    return askOperator("verify-failed", "The function verifyProof", () => {
      const verdict = verifyProof(payment, req);
      return isPromise(verdict) ? verdict.then(checkVerdict) : checkVerdict(verdict);
    });
  }

  /** The route's own price replaces the table's. */
  function reprice(
    req: MeteredRequest,
    res: Response,
    next: NextFunction,
    metered: Metered,
    route: PricedRoute,
  ) {
    whenReady(metered.hold.change(holdOf(route)), next, (turned) => {
      metered.route = route;
      if (!turned) {
        watch(route, res);
        return next();
      }
      const { isVerified, plans } = metered;
      if (turned === late) {
        const code = "journal-failing";
        return refuse(req, res, next, code, fullDetails[code], knownOf(route, plans));
      }
      turnBack(req, res, next, refusalOf(turned, isVerified), knownOf(route, plans));
    });
  }

  function turnBack(
    req: Request,
    res: Response,
    next: NextFunction,
    { code, detail, balance }: Refusal,
    known: Known,
  ) {
    const told = balance === undefined ? known : { ...known, balance };
    refuse(req, res, next, code, detail, told);
  }

  function enter(
    req: MeteredRequest,
    res: Response,
    next: NextFunction,
    admission: Admission,
    route: PricedRoute,
    label: string,
  ) {
    const { hold } = admission;
    // While something else was waited for, the client left or somebody answered: no event would end
    // what is admitted now, and nobody waits for the handler.
    const isOver = () => req.socket.destroyed || res.closed || res.headersSent;
    if (isOver()) return hold.end();
    const known = knownOf(route, admission.plans);
    const opened = redemptions.hasRoom()
      ? redemptions.open(admission.payment, label)
      : noRoomReason();
    if (typeof opened === "string") {
      hold.end();
      return refuse(req, res, next, opened, fullDetails[opened], known);
    }
    const shared = hold.share(opened.redemptionId);
    const { agreement } = admission;
    if (agreement) redemptions.agree(opened, agreement.terms);
    const waits = parts.strict || parts.singleUse || shared || agreement?.agentRequestId;
    if (!waits) {
      admit(req, res, opened, admission, route);
      return next();
    }
    remember(opened, admission, shared).then((became) => {
      if (became === "remembered" && !isOver()) {
        admit(req, res, opened, admission, route);
        return next();
      }
      hold.end();
      if (became === "remembered" || became === late) {
        // What was reserved is given back with the record of a redemption that is skipped.
        redemptions.decide(opened, skip("nothing-delivered"));
        if (became === "remembered") return;
        const code = "journal-failing";
        return refuse(req, res, next, code, fullDetails[code], known);
      }
      redemptions.withdraw(opened);
      turnBack(req, res, next, became, known);
    }, next);
  }

  /** Why nothing is admitted while there is no room. */
  const noRoomReason = () => redemptions.refusal() ?? "journal-failing";

  function admit(
    req: MeteredRequest,
    res: Response,
    redemption: Redemption,
    { hold, waits, verdict, plans }: Admission,
    route: PricedRoute,
  ) {
    const isVerified = verdict !== undefined;
    const metered: Metered = { meter: self, redemption, hold, waits, isVerified, plans, route };
    req[meteredKey] = metered;
    watch(route, res);
    res.locals.redemption = redemption;
    res.setHeader("Redemption-Id", redemption.redemptionId);
    watchDelivery(req, res, (delivery) => {
      const decision = refusalToCharge(delivery, req, res, metered.route, parts.chargeWhen);
      if (decision) return carryOut(res, redemption, hold, decision);
      const settle = () =>
        carryOut(res, redemption, hold, runPrice(metered.route.price, req, res, delivery));
      // A client that left before the handler was done: what a computed price reads may still come.
      const early = delivery.extent !== "complete" && !res.writableEnded;
      if (early && typeof metered.route.price === "function") {
        afterHandler(res, parts.abortGraceMs, settle);
      } else {
        settle();
      }
    });
  }

  function carryOut(res: Response, redemption: Redemption, hold: Hold, priced: Priced) {
    const used = notedUsage(res);
    if (used) redemption.usage = used;
    if (priced.status === "priced") redemptions.charge(redemption, priced.amount);
    else redemptions.decide(redemption, priced);
    // After the charge counts, so that nothing fits in between.
    hold.end();
  }

  function refuse(
    req: Request,
    res: Response,
    next: NextFunction,
    code: RefusalCode,
    detail: string,
    known?: Known,
  ) {
    const problem = createProblem(code, detail, known);
    if (parts.x402 && problem.status === 402) {
      res.setHeader("Payment-Required", parts.x402.header(req, known?.plans ?? [], detail));
    }
    void answer(problem, req, res, next, parts.refuse);
  }

  return { byTable, atRoute };
}

const noRoom = "This API has no room for another charge right now. Try again in a moment.";
const fullDetails = {
  "queue-full": noRoom,
  "journal-full": noRoom,
  "journal-failing": "This API cannot record charges right now. Try again in a moment.",
  closing: "This server is shutting down. Try again; another one will answer.",
} as const;

/** A price that reads the response must hear it from the start. */
function watch({ price }: PricedRoute, res: Response): void {
  if (typeof price === "function") price.watch?.(res);
}

/** What a request puts on hold, in credits. */
export function holdOf({ price, hold }: PricedRoute): number {
  return typeof price === "number" ? price : (hold ?? 0);
}

function knownOf(route: PricedRoute, plans: readonly string[] | undefined): Known {
  return plans ? { ...knownPrice(route), plans } : knownPrice(route);
}

function knownPrice({ price, hold }: PricedRoute): Pick<Known, "price" | "hold"> {
  if (typeof price === "number") return { price };
  return hold === undefined ? {} : { hold };
}

function readPayment(
  reader: MeterParts["readPayment"],
  req: Request,
): PaymentReading | Promise<PaymentReading> {
  if (typeof reader === "function") return reader(req);
  const found = reader.by(req);
  return isPromise(found) ? found.then((value) => checkPayment(value)) : checkPayment(found);
}

function askPlans(plans: Plans) {
  return askOperator("plans-failed", "The plans function of the meter", () => listPlans(plans));
}

/** Calls a function of the operator's; whatever it throws or rejects with is named by our code. */
function askOperator<Value>(
  code: "plans-failed" | "verify-failed",
  name: string,
  ask: () => Value | Promise<Value>,
): Value | Promise<Value> {
  const failed = (cause: unknown) =>
    new CreditMeterError(code, `${name} failed; see the cause.`, { cause });
  try {
    const answered = ask();
    if (!isPromise(answered)) return answered;
    return answered.then(undefined, (error: unknown) => Promise.reject(failed(error)));
  } catch (error) {
    throw failed(error);
  }
}

function checkVerdict(verdict: unknown): ProofVerdict {
  if (typeof verdict === "boolean") return verdict;
  const { nonce } = Object(verdict) as { nonce?: unknown };
  if (typeof nonce === "string" && nonce !== "") return { nonce };
  throw new TypeError("verifyProof must return true, false or { nonce: string }");
}

/** Why the response is not charged, or what its `chargeWhen` did wrong; undefined to charge it. */
function refusalToCharge(
  delivery: Delivery,
  req: Request,
  res: Response,
  route: PricedRoute,
  fallback: ChargeWhen | undefined,
): Priced | undefined {
  const chargeWhen = route.chargeWhen ?? fallback;
  if (!chargeWhen) {
    const reason = skipReason(delivery, req.method);
    return reason && skip(reason);
  }
  try {
    const verdict: unknown = chargeWhen(delivery, req, res);
    if (typeof verdict === "boolean") return verdict ? undefined : skip("charge-when");
    return priceError("chargeWhen must return true or false, and returned neither.");
  } catch (error) {
    return priceError(`chargeWhen threw: ${error instanceof Error ? error.message : "no Error"}.`);
  }
}

/**
 * Calls back once: when the handler ends the response, or after the grace time. The response's
 * client has gone, so that Node tells nothing of it any more; its own `end` does. What the handler
 * sets right after `end()` counts too, as it does after a response that was delivered.
 */
function afterHandler(res: Response, graceMs: number, callback: () => void): void {
  let called = false;
  const once = () => {
    if (called) return;
    called = true;
    clearTimeout(timer);
    callback();
  };
  const timer = setTimeout(once, graceMs);
  const end = res.end;
  res.end = function ended(this: Response, ...args: unknown[]) {
    setImmediate(once);
    return Reflect.apply(end, this, args);
  } as typeof res.end;
}

/** Goes on at once with a value, later with a promise; what fails goes to Express. */
function whenReady<Value>(
  value: Value | Promise<Value>,
  next: NextFunction,
  proceed: (value: Value) => void,
): void {
  if (isPromise(value)) value.then(proceed).catch(next);
  else proceed(value);
}

/** Of any make: an operator's promises may be another library's. */
function isPromise<Value>(value: Value | Promise<Value>): value is Promise<Value> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === "function";
}
