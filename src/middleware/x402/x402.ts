/**
 * The x402 half of the middleware: reads the access token of a request, says what a 402 asks for, and has
 * the ledger verify the token before the handler runs.
 */

import type { Request } from "express";
import { type Clock, late, type Waits } from "../../clock.ts";
import type { RefusalCode } from "../../errors.ts";
import { createQuestions } from "../../guard/questions.ts";
import type { Terms } from "../../redeemer/redemptions.ts";
import type { Payment, Verification, VerifyQuestion } from "../../redemption.ts";
import { onlyValueOf, type PaymentReading } from "../payment.ts";
import {
  createPaymentRequired,
  encodePaymentRequired,
  type PaymentRequired,
  withAccepted,
} from "./payment-required.ts";
import { type AccessToken, readToken } from "./token.ts";

export interface X402Options {
  /** Where buyers reach this API. */
  readonly publicUrl: string;
  /** As x402 names networks, such as `eip155:84532`. */
  readonly network: string;
  readonly agentId?: string | undefined;
  readonly description?: string | undefined;
  readonly mimeType?: string | undefined;
  /** Whether the ledger is asked before the handler runs. */
  readonly verify: "always" | "never";
  /** Whether a request passes unverified while the ledger does not answer. */
  readonly passesUnverified: boolean;
  /** Milliseconds that a question may wait for its turn, and as many that it may take then. */
  readonly waitMs: number;
  readonly clock: Clock;
  /** Asks the ledger. Rejects only while the meter is being closed. */
  readonly ask: (question: VerifyQuestion) => Promise<Verification>;
}

/** What a settlement is made with. */
export interface Agreement {
  readonly terms: Terms;
  /** Under which the ledger settles once. Null: it gave none. */
  readonly agentRequestId: string | null;
}

/** Why a token does not pay. */
interface NoAgreement {
  readonly code: RefusalCode;
  readonly detail: string;
}

export interface X402 {
  read(req: Request): PaymentReading;
  /** The value of the header `payment-required`. */
  header(req: Request, plans: readonly string[], why: string): string;
  /** @param credits what may be settled at most */
  agree(
    req: Request,
    payment: Payment,
    plans: readonly string[],
    credits: number,
    waits: Waits,
  ): Agreement | Promise<Agreement | NoAgreement>;
}

/** Tokens that the ledger is asked about at once; each has a socket of its own, and others wait. */
export const maxVerifications = 64;

/** x402 v2, transport HTTP. Express lowers the case of names. */
const tokenHeader = "payment-signature";

export function createX402(options: X402Options): X402 {
  /** What was read of a payment's token: it is not read twice. */
  const tokens = new WeakMap<Payment, AccessToken>();
  const questions = createQuestions({
    atOnce: maxVerifications,
    longestMs: options.waitMs,
    clock: options.clock,
  });
  const { publicUrl, network, agentId, description, mimeType } = options;

  function required(req: Request, planIds: readonly string[], error?: string): PaymentRequired {
    const { originalUrl } = req;
    // Nevermined binds an agent's endpoint to its verb.
    const httpVerb = agentId === undefined ? undefined : req.method;
    const resource = { publicUrl, originalUrl, description, mimeType };
    return createPaymentRequired({ planIds, network, ...resource, agentId, httpVerb, error });
  }

  return {
    read(req) {
      const header = onlyValueOf(req, tokenHeader);
      if (header === undefined) {
        const detail =
          "This request must be paid with x402. Get an access token for one of the plans in the header payment-required, and send it in the header payment-signature.";
        return { ok: false, code: "payment-required", detail };
      }
      if (header === null) {
        const detail = "Send the header payment-signature only once.";
        return { ok: false, code: "payment-malformed", detail };
      }
      const reading = readToken(header);
      if (!reading.ok) return { ...reading, code: "payment-malformed" };
      const { planId, holderAddress } = reading.token;
      const payment = { planId, holderAddress, proof: header };
      tokens.set(payment, reading.token);
      return { ok: true, payment };
    },

    header: (req, plans, why) => encodePaymentRequired(required(req, plans, why)),

    agree(req, payment, plans, credits, waits) {
      const token = tokens.get(payment);
      const x402AccessToken = payment.proof;
      const offered = required(req, plans);
      const paymentRequired = token ? withAccepted(offered, token.accepted) : offered;
      const agreed = (agentRequestId: string | null): Agreement => {
        const id = agentRequestId === null ? {} : { agentRequestId };
        return {
          terms: {
            proof: JSON.stringify({ paymentRequired, x402AccessToken, ...id }),
            repeatable: agentRequestId !== null,
            expiresAt: token?.expiresAt ?? null,
          },
          agentRequestId,
        };
      };
      // What costs nothing is not settled, and needs no permission.
      if (options.verify === "never" || credits === 0) return agreed(null);
      const question = { paymentRequired, x402AccessToken, maxAmount: credits };
      return waits
        .within(questions.ask(() => options.ask(question), false))
        .then((asked): Agreement | NoAgreement => {
          if (asked !== late && asked.kind === "unasked") return unasked;
          const isAnswered = asked !== late && asked.kind === "answered";
          const verification = isAnswered ? asked.answer : undefined;
          if (verification?.status === "valid") {
            const { payer, agentRequestId } = verification;
            // The guard has counted it against the holder that the token names.
            const isSame = payer?.toLowerCase() === payment.holderAddress.toLowerCase();
            return payer === null || isSame ? agreed(agentRequestId) : otherPayer;
          }
          if (verification?.status === "invalid") return refusalOf(verification);
          if (options.passesUnverified) return agreed(null);
          const detail = "The payment cannot be verified right now. Try again in a moment.";
          return { code: "ledger-away", detail };
        });
    },
  };
}

const unasked = {
  code: "not-asked-in-time",
  detail:
    "Too many payments are to be verified, and this one's turn did not come in time. Try again in a moment.",
} as const;

const otherPayer = {
  code: "proof-invalid",
  detail: "The access token names another holder than the ledger. Ask for a new one.",
} as const;

function refusalOf({ reason, message }: Extract<Verification, { status: "invalid" }>): NoAgreement {
  const code = reason === "insufficient-credits" ? reason : "proof-invalid";
  return { code, detail: `The ledger does not accept this payment: ${message}` };
}
