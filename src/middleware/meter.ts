/**
 * The middleware: finds the price of a request, admits it or refuses it, and when its response has
 * ended decides what it costs. Everything up to `next()` is synchronous unless the operator's own
 * reader or list of plans is not.
 */

import { clearTimeout, setImmediate, setTimeout } from "node:timers";
import type { NextFunction, Request, RequestHandler, Response } from "express";
import { type Clock, createWaits, late, type Waits } from "../clock.ts";
import { CreditMeterError, type RefusalCode, type SkipReason } from "../errors.ts";
import type { Guard } from "../guard/guard.ts";
import type { Hold, Turned } from "../guard/hold.ts";
import { listPlans, type Plans } from "../guard/plans.ts";
import type { ProofVerdict, VerifyProof } from "../guard/proofs.ts";
import type { Redemptions } from "../redeemer/redemptions.ts";
import type { Payment, Redemption } from "../redemption.ts";
import { notedUsage } from "../usage/usage.ts";
import { type Admission, createRemember, type Refusal, refusalOf } from "./admission.ts";
import { type Delivery, watchDelivery, whyUntold } from "./delivery.ts";
import { checkPayment, type PaymentReader, type PaymentReading } from "./payment.ts";
import {
  type ChargeWhen,
  notCharged,
  type Price,
  type Priced,
  priceError,
  runPrice,
  skip,
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
  /** Tells that a request is refused of whose answer nobody could tell what became; in one sentence, why. */
  readonly onUntold: (why: string) => void;
  /** Tells what failed where Express cannot be told any more: a response had ended, or somebody's had begun. */
  readonly onFault: (error: unknown, redemption: Redemption | undefined) => void;
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
  /** Set where the answer is the meter's own: it costs nothing, whatever `chargeWhen` says. */
  free?: SkipReason;
}

/** Registered, so that two copies of this package on one request see each other. */
const meteredKey = Symbol.for("express-credit-meter.metered");

interface MeteredRequest extends Request {
  [meteredKey]?: Metered;
}

/** Makes a request that was admitted all the same cost nothing. */
export function neverCharge(req: MeteredRequest): void {
  const metered = req[meteredKey];
  if (metered) setFree(metered, "price-zero");
}

function setFree(metered: Metered, reason: SkipReason): void {
  metered.free = reason;
  // What costs nothing keeps nobody out while it waits.
  void metered.hold.change(0);
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
      harmlessly(() => {
        const reached = parts.routes.mismatch(req, row);
        if (!reached) return;
        const path = req.originalUrl.split("?", 1)[0] ?? "";
        parts.onMismatch({ method: req.method, path, matched: row?.key, reached: reached.key });
      });
    });
    if (row && row.value !== "free") return meterRequest(req, res, next, row.value, row.key);
    if (!row && parts.unlisted === "refuse") {
      return refuse(req, res, next, "route-unlisted", "This API does not offer that route.");
    }
    next();
  }

  function atRoute(route: PricedRoute): RequestHandler {
    return (req: MeteredRequest, res, next) => {
      const fault = setupFault(req);
      if (fault) return next(fault);
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
      setFree(metered, "refused");
      return next(
        new CreditMeterError(
          "two-meters",
          "Two meters would charge this request. Create one meter, mount it once with app.use(meter), and use its own meter.charge() at routes.",
        ),
      );
    }
    if (metered) return reprice(req, res, next, metered, route);
    if (res.headersSent) {
      // Somebody has answered, and lets the request go on all the same: nobody waits for its handler.
      if (res.writableEnded) return;
      return next(headSent());
    }
    const known = knownPrice(route);
    const untold = whyUntold(req, res);
    if (untold) {
      parts.onUntold(untold);
      return refuse(req, res, next, "delivery-untold", untold, known);
    }
    whenReady(req, res, readPayment(parts.readPayment, req), next, (reading) => {
      if (!reading.ok && reading.code === "payment-malformed") {
        return refuse(req, res, next, reading.code, reading.detail, known);
      }
      whenReady(req, res, askPlans(parts.plans), next, (plans) => {
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
        whenReady(req, res, room, next, () => {
          whenReady(req, res, askVerdict(payment, req), next, (verdict) => {
            if (verdict === false) {
              const detail = "The proof of the payment is not valid for its holder and plan.";
              return refuse(req, res, next, "proof-invalid", detail, offer);
            }
            const turn = (turned: Turned) =>
              turnBack(req, res, next, refusalOf(turned, verdict !== undefined), offer);
            const credits = holdOf(route);
            whenReady(req, res, guard.admit(payment, credits, waits), next, (admitted) => {
              if ("code" in admitted) return turn(admitted);
              const go = (hold: Hold, agreement: Agreement | undefined) => {
                const admission = { payment, verdict, plans, hold, agreement, waits };
                enter(req, res, next, admission, route, label);
              };
              let agreeing: Agreement | undefined | Promise<Agreement | Refusal>;
              try {
                agreeing = parts.x402?.agree(req, payment, plans ?? [], credits, waits);
              } catch (error) {
                admitted.end();
                throw error;
              }
              if (!isPromise(agreeing)) return go(admitted, agreeing);
              // Anybody can name a holder: until the ledger has verified the token, nothing is set aside.
              admitted.end();
              whenReady(req, res, agreeing, next, (agreement) => {
                if ("code" in agreement) return turnBack(req, res, next, agreement, offer);
                whenReady(req, res, guard.admit(payment, credits, waits), next, (hold) => {
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
    const wasBegun = res.headersSent;
    whenReady(req, res, metered.hold.change(holdOf(route)), next, (turned) => {
      metered.route = route;
      if (!turned) {
        watch(route, res);
        return next();
      }
      setFree(metered, "refused");
      if (wasBegun) return next(headSent());
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
    // No event would end what is admitted now, and nobody waits for the handler.
    if (isOver(req, res)) return hold.end();
    let opened: Redemption | undefined;
    /** Whatever fails until the delivery is watched, nothing stays on hold and no place is taken. */
    const undone = (error: unknown) => {
      hold.end();
      // What was reserved, prepared or set aside for it in the journal is given back, too.
      if (opened) redemptions.decide(opened, skip("nothing-delivered"));
      fail(req, res, next, error);
    };
    try {
      const known = knownOf(route, admission.plans);
      const found = redemptions.hasRoom()
        ? redemptions.open(admission.payment, label)
        : noRoomReason();
      if (typeof found === "string") {
        hold.end();
        return refuse(req, res, next, found, fullDetails[found], known);
      }
      opened = found;
      const shared = hold.share(found.redemptionId);
      const { agreement } = admission;
      if (agreement) redemptions.agree(found, agreement.terms);
      const waits = parts.strict || parts.singleUse || shared || agreement?.agentRequestId;
      if (waits) {
        remember(found, admission, shared)
          .then((became) => remembered(req, res, next, found, admission, route, became))
          .catch(undone)
          .then((mayGo) => {
            if (mayGo) next();
          })
          .catch((error) => fail(req, res, next, error));
        return;
      }
      admit(req, res, found, admission, route);
    } catch (error) {
      return undone(error);
    }
    next();
  }

  /** Returns whether the handler may run. */
  function remembered(
    req: MeteredRequest,
    res: Response,
    next: NextFunction,
    redemption: Redemption,
    admission: Admission,
    route: PricedRoute,
    became: Awaited<ReturnType<typeof remember>>,
  ): boolean {
    const { hold } = admission;
    if (became === "remembered" && !isOver(req, res)) {
      admit(req, res, redemption, admission, route);
      return true;
    }
    hold.end();
    const known = knownOf(route, admission.plans);
    if (became === "remembered" || became === late) {
      // What was reserved is given back with the record of a redemption that is skipped.
      redemptions.decide(redemption, skip("nothing-delivered"));
      if (became === "remembered") return false;
      refuse(req, res, next, "journal-failing", fullDetails["journal-failing"], known);
      return false;
    }
    redemptions.withdraw(redemption);
    turnBack(req, res, next, became, known);
    return false;
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
    // All that may fail comes before the watch.
    req[meteredKey] = metered;
    res.locals.redemption = redemption;
    res.setHeader("Redemption-Id", redemption.redemptionId);
    watch(route, res);
    watchDelivery(req, res, (delivery) => {
      settled(redemption, hold, () => judge(req, res, metered, delivery));
    });
  }

  /** What an admitted request costs, now or as soon as that can be known. */
  function judge(req: MeteredRequest, res: Response, metered: Metered, delivery: Delivery) {
    const { redemption, hold, route } = metered;
    const done = (priced: Priced) => carryOut(res, redemption, hold, priced);
    const later = (decide: () => Priced) =>
      afterHandler(res, parts.abortGraceMs, () => settled(redemption, hold, () => done(decide())));
    if (metered.free) return done(skip(metered.free));
    const { price, chargeWhen = parts.chargeWhen ?? "delivered" } = route;
    // A client that left before the handler was done: what it does still counts, or may be read.
    const isEarly = delivery.extent !== "complete" && !res.writableEnded;
    if (isEarly && chargeWhen === "started") {
      return later(() => {
        const ended = { ...delivery, status: res.statusCode };
        return refusalToCharge(ended, req, res, chargeWhen) ?? runPrice(price, req, res, ended);
      });
    }
    const decision = refusalToCharge(delivery, req, res, chargeWhen);
    if (decision) return done(decision);
    if (isEarly && typeof price === "function") {
      return later(() => runPrice(price, req, res, delivery));
    }
    done(runPrice(price, req, res, delivery));
  }

  /** Whatever fails once a response has ended: its hold and its place are free, and somebody is told. */
  function settled(redemption: Redemption, hold: Hold, work: () => void) {
    try {
      work();
    } catch (error) {
      hold.end();
      harmlessly(() => redemptions.abandon(redemption));
      harmlessly(() => parts.onFault(error, redemption));
    }
  }

  function harmlessly(work: () => void) {
    try {
      work();
    } catch (error) {
      // An error in a listener of the response's would end the process.
      process.emitWarning(error instanceof Error ? error : String(error));
    }
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
    // While something was waited for, somebody else may have answered.
    if (isOver(req, res)) return;
    const problem = createProblem(code, detail, known);
    if (parts.x402 && problem.status === 402) {
      res.setHeader("Payment-Required", parts.x402.header(req, known?.plans ?? [], detail));
    }
    void answer(problem, req, res, next, parts.refuse);
  }

  /** Goes on at once with a value, later with a promise; what fails goes to Express. */
  function whenReady<Value>(
    req: Request,
    res: Response,
    value: Value | Promise<Value>,
    next: NextFunction,
    proceed: (value: Value) => void,
  ): void {
    if (isPromise(value)) {
      value.then(proceed).then(undefined, (error: unknown) => fail(req, res, next, error));
    } else {
      proceed(value);
    }
  }

  /** Where somebody has answered meanwhile, Express would cut that answer off. */
  function fail(req: Request, res: Response, next: NextFunction, error: unknown) {
    if (isOver(req, res)) harmlessly(() => parts.onFault(error, undefined));
    else next(error);
  }

  return { byTable, atRoute };
}

/** Whether the client has left, or somebody has begun to answer. */
function isOver(req: Request, res: Response): boolean {
  return req.socket.destroyed || res.closed || res.headersSent || res.writableEnded;
}

function headSent(): CreditMeterError {
  return new CreditMeterError(
    "head-sent",
    "The head of the response was sent before the meter saw its request, so that it cannot be refused any more. Mount the meter in front of whatever calls res.flushHeaders() or res.write().",
  );
}

const noRoom = "This API has no room for another charge right now. Try again in a moment.";
const fullDetails = {
  "queue-full": noRoom,
  "journal-full": noRoom,
  "journal-failing": "This API cannot record charges right now. Try again in a moment.",
  "ledger-misconfigured":
    "This API is not set up to take payments right now; its operator is told why. Try again later.",
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
  chargeWhen: ChargeWhen,
): Priced | undefined {
  if (typeof chargeWhen === "string") return notCharged(chargeWhen, delivery, req.method);
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

/** Of any make: an operator's promises may be another library's. */
function isPromise<Value>(value: Value | Promise<Value>): value is Promise<Value> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === "function";
}
