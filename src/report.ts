/**
 * What people are told: one structured line a redemption, the listeners, and what needs attention.
 * No line holds a proof or a key: they are never given to this file.
 */

import { elapsed } from "./clock.ts";
import type { Logger } from "./options.ts";
import type { Health, Outcome } from "./redeemer/door.ts";
import type { Answer, BalanceReading, Redemption } from "./redemption.ts";

export interface Report {
  settled(redemption: Redemption): void;
  /** What an attempt to charge came to. */
  answered(answer: Answer): void;
  unsent(redemption: Redemption): void;
  mismatch(mismatch: {
    method: string;
    path: string;
    matched: string | undefined;
    reached: string;
  }): void;
  /** Why nobody could tell what becomes of a response; each reason once. */
  untold(why: string): void;
  /** What failed where nobody else can be told. */
  fault(error: unknown, redemption: Redemption | undefined): void;
  unusedRoutes(keys: readonly string[]): void;
  anyPlan(): void;
  aboveLine(routes: readonly string[], creditLine: number): void;
  plainHttp(baseUrl: string): void;
  journalAt(file: string, warning: string | undefined): void;
  journalInPostgres(schema: string): void;
  noWorkerFile(file: string | undefined): void;
  threadDied(error: Error | undefined): void;
  health(health: Health): void;
  lateAnswer(late: Extract<Outcome, { kind: "late-answer" }>): void;
  recovered(recovered: Extract<Outcome, { kind: "recovered" }>): void;
  exposureReached(): void;
  /** What the ledger said when it was asked for a balance. */
  balance(reading: BalanceReading): void;
}

const minuteMs = 60_000;
/** Charges in a row whose answers name nothing, at which it is told. */
const namelessSuspicious = 3;

export function createReport(
  logger: Logger,
  listeners: ReadonlySet<(redemption: Redemption) => unknown>,
): Report {
  /** An outage is told when it begins, when its kind changes, and when it ends: not at each charge. */
  let troubled: string | undefined;
  let lastProblem: string | null = null;
  let lastPaused: string | null = null;
  let lastFault: string | null = null;
  let exposureToldUntil = 0;
  let balancesUntold = false;
  let namelessInARow = 0;
  const mismatches = new Set<string>();
  const untold = new Set<string>();

  function call(listener: (redemption: Redemption) => unknown, redemption: Redemption) {
    const failed = (error: unknown) => {
      logger.error(
        { err: error, redemptionId: redemption.redemptionId },
        "A listener for redemptions failed; the redemption itself is not affected.",
      );
    };
    try {
      const result = listener(redemption);
      if (result instanceof Promise) result.catch(failed);
    } catch (error) {
      failed(error);
    }
  }

  function trouble(trouble: Extract<Answer, { status: "pending" }> | null) {
    if (trouble?.reason === troubled) return;
    if (trouble) {
      const { reason, code, message } = trouble;
      // A fault of the configuration is an error once sending pauses for it: it may be one holder's alone.
      logger.warn({ reason, code }, `Charges wait to be sent again: ${message}`);
    } else {
      logger.info({ reason: troubled }, "The ledger answers again; waiting charges are sent.");
    }
    troubled = trouble?.reason;
  }

  return {
    settled(redemption) {
      logger[levelOf(redemption)](lineOf(redemption), redemption.message);
      for (const listener of listeners) call(listener, redemption);
    },

    answered(answer) {
      if (answer.status === "pending") trouble(answer);
      if (answer.status === "completed" || answer.status === "failed") trouble(null);
      if (answer.status !== "completed") return;
      namelessInARow = namesNothing(answer) ? namelessInARow + 1 : 0;
      if (namelessInARow !== namelessSuspicious) return;
      logger.warn(
        { count: namelessInARow },
        "The answers to the last charges name neither credits nor a balance: they count as charged, but a gateway that answers everything with 200 would look the same. Check the base URL, and compare a holder's balance.",
      );
    },

    unsent(redemption) {
      logger.error(
        lineOf(redemption),
        "The meter or its process ended before this charge was settled; it is only in this line now.",
      );
    },

    mismatch(mismatch) {
      const key = `${mismatch.matched} ${mismatch.reached}`;
      if (mismatches.has(key)) return;
      mismatches.add(key);
      logger.warn(
        mismatch,
        `A request was priced as ${mismatch.matched ?? "free"}, but the route of "${mismatch.reached}" answered it. Either req.url was rewritten behind the meter, or the rows stand in another order than the routes, or the path was spelt so that it could mean both.`,
      );
    },

    untold(why) {
      if (untold.has(why)) return;
      untold.add(why);
      logger.error(
        { code: "delivery-untold" },
        `Metered requests are refused, since nobody could tell what becomes of their responses. ${why}`,
      );
    },

    fault(error, redemption) {
      logger.error(
        { err: error, ...(redemption && lineOf(redemption)) },
        redemption
          ? "The end of a response could not be dealt with; what it costs was not charged."
          : "A request failed after somebody else had answered it.",
      );
    },

    unusedRoutes(keys) {
      if (keys.length === 0) return;
      logger.warn(
        { routes: keys },
        "Some rows of the price table never matched a request; check them for misspelt paths.",
      );
    },

    aboveLine(routes, creditLine) {
      if (routes.length === 0) return;
      logger.warn(
        { routes, creditLine },
        "These routes put more on hold than guard.creditLine: while the ledger does not tell balances, nobody passes there of whom it told none before. Raise guard.creditLine, and guard.maxExposure with it.",
      );
    },

    anyPlan() {
      logger.warn(
        {},
        'plans is "any": a buyer can pay with a plan of their own making. List the plans that you sell.',
      );
    },

    journalAt(file, warning) {
      logger.info({ journal: file }, "Charges are remembered in the journal.");
      if (warning !== undefined) logger.warn({ journal: file }, warning);
    },

    journalInPostgres(schema) {
      // Not the connection: it may hold a password.
      logger.info({ journal: "postgres", schema }, "Charges are remembered in the journal.");
    },

    noWorkerFile(file) {
      logger.warn(
        { file },
        "The worker's file is not there (a bundler left it out?), so journal and ledger are served by the thread that serves requests. Mark express-credit-meter as external in the bundler, or set inline: true.",
      );
    },

    threadDied(error) {
      logger.error(
        { err: error },
        "The thread that writes and sends charges ended; it is started again, and what it had not acknowledged is handed over again.",
      );
    },

    health({ writable, problem, paused, fault, totals }) {
      if (!writable && lastProblem === null) {
        logger.error(
          { problem },
          "New metered requests are refused until the journal can be written.",
        );
      } else if (writable && lastProblem !== null) {
        logger.info({}, "The journal can be written again.");
      }
      lastProblem = problem;
      const fields = { reason: paused, pending: totals.pending };
      if (fault !== null && lastFault === null) {
        logger.error(
          fields,
          `Sending pauses, and a process that never charged anything refuses new requests, until this is mended: ${fault}`,
        );
      } else if (paused !== null && lastPaused === null) {
        logger.warn(
          fields,
          "Sending pauses; one charge at a time tries whether the ledger works again.",
        );
      } else if (paused === null && lastPaused !== null) {
        logger.info({ pending: totals.pending }, "Sending goes on.");
      }
      lastPaused = paused;
      lastFault = fault;
    },

    lateAnswer({ redemptionId, attempt, answer }) {
      logger.error(
        {
          ...{ redemptionId, attempt, status: answer.status },
          ...(answer.status === "completed"
            ? { redeemedAmount: answer.redeemedAmount }
            : { reason: answer.reason, code: answer.code }),
        },
        "The ledger answered a charge after a person had decided about it, or after it was sent once more. The decision stands; compare both with meter.redemptions.show(id).",
      );
    },

    recovered({ pending, unresolved, resent }) {
      if (pending > 0 || resent > 0) {
        logger.info({ pending, resent }, "Charges were found in the journal; they are sent now.");
      }
      if (unresolved.length === 0) return;
      logger.warn(
        { count: unresolved.length, redemptionIds: unresolved.slice(0, 20) },
        'A process ended before it knew what became of these charges; a person must decide. List them with meter.redemptions.list({ status: "unresolved" }).',
      );
    },

    exposureReached() {
      const now = elapsed();
      if (now < exposureToldUntil) return;
      exposureToldUntil = now + minuteMs;
      logger.warn(
        {},
        "Requests are refused: holders whose balance the ledger does not tell owe guard.maxExposure credits together.",
      );
    },

    balance(reading) {
      if (!reading.told && !balancesUntold) {
        logger.warn(
          { why: reading.message },
          "The ledger does not tell balances: until it does, holders whom it told of pass on what it told last, and all others on guard.creditLine, or as guard.onLedgerDown says.",
        );
      } else if (reading.told && balancesUntold) {
        logger.info({}, "The ledger tells balances again.");
      }
      balancesUntold = !reading.told;
    },

    plainHttp(baseUrl) {
      logger.warn(
        { baseUrl },
        "The API key is sent over plain HTTP to another machine. Use https.",
      );
    },
  };
}

/** A sale in money names no credits; what the ledger calls it is as good. */
function namesNothing(answer: Extract<Answer, { status: "completed" }>): boolean {
  const { redeemedAmount, remainingBalance, transaction } = answer;
  return redeemedAmount === null && remainingBalance === null && transaction === undefined;
}

function levelOf({ status, short }: Redemption): "debug" | "info" | "warn" | "error" {
  if (status === "failed") return "error";
  if (status === "unresolved" || short) return "warn";
  return status === "skipped" ? "debug" : "info";
}

function lineOf(redemption: Redemption) {
  const { redemptionId, status, planId, holderAddress, route, environment } = redemption;
  const { code, reason } = redemption.error ?? {};
  return {
    redemptionId,
    status,
    planId,
    holderAddress,
    route,
    environment,
    ...redemption.redemption,
    ...(redemption.usage && { usage: redemption.usage }),
    ...(reason && { reason, code }),
  };
}
