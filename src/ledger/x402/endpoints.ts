import { hash, randomUUID } from "node:crypto";
import type { Accounts, Origin } from "../accounts.ts";
import { type Answer, json, problem } from "../answers.ts";
import { type Outcome, type Task, unreadable } from "../endpoints.ts";
import {
  type AnswerStyle,
  dueOf,
  type ReadOptions,
  type RefusalStyle,
  type RequestIds,
} from "../options.ts";
import { type PaymentRequired, permissionsBody, settleBody, verifyBody } from "./bodies.ts";
import {
  expiredToken,
  type Known,
  malformedToken,
  otherResource,
  otherScheme,
  type Refusal,
  sayNo,
  spentToken,
  strangeToken,
  tooFew,
} from "./refusals.ts";
import { networkPattern, readToken, scheme, type Token, writeToken } from "./tokens.ts";

/** What can be changed while the ledger runs. */
interface Modes {
  answers: () => AnswerStyle;
  refusals: () => RefusalStyle;
  requestIds: () => RequestIds;
}

/** A question that can be answered: it has been read. */
export interface Question {
  /** What its asker must own. */
  planId: string;
  ask(): Answer;
}

type Refused = { refused: Answer };

/**
 * The x402 endpoints, apart from HTTP. They succeed with 201, as the OpenAPI document says and as
 * Nevermined's framework does of itself after a POST; its SDK takes any 2xx.
 */
export function createX402(
  accounts: Accounts,
  { plans, tokenTtlMs }: Pick<ReadOptions, "plans" | "tokenTtlMs">,
  modes: Modes,
) {
  let lastId: string | undefined;

  /** A buyer's question for a token of their own. */
  function permissions(body: unknown, holder: string, correlationId: string): Answer {
    const read = permissionsBody.safeParse(body);
    if (!read.success) return unreadable(read.error, correlationId);
    const { accepted, resource, tokenVersion } = read.data;
    const refuse = (status: number, code: string, message: string) =>
      problem(status, code, message, correlationId);
    const { planId, network, extra } = accepted;
    if (accepted.scheme !== scheme || !networkPattern.test(network)) {
      const message = `Unsupported scheme: this ledger knows ${scheme} on eip155:<chain id> only.`;
      return refuse(402, "BCK.X402.0034", message);
    }
    if (planId === undefined) {
      return refuse(402, "BCK.X402.0030", "The field accepted.planId is missing.");
    }
    if (!plans.has(planId) && !accounts.knows(planId)) {
      return refuse(404, "BCK.X402.0002", `Plan not found: ${planId}.`);
    }
    // Nevermined's own default depends on a header that the SDK sends; the older kind is what its
    // documents describe.
    const singleUse = tokenVersion === 3;
    const token = writeToken({
      holderAddress: holder,
      planId,
      network,
      extra,
      resource,
      singleUse,
    });
    accounts.permissions.grant(token.hash, { ttlMs: tokenTtlMs, singleUse });
    return json(201, { accessToken: token.accessToken });
  }

  function verify(body: unknown, correlationId: string): Question | Refused {
    const read = verifyBody.safeParse(body);
    if (!read.success) return { refused: unreadable(read.error, correlationId) };
    const { paymentRequired, x402AccessToken, maxAmount = 1 } = read.data;
    const no = (refusal: Refusal, known: Known) =>
      sayNo("verify", modes.refusals(), refusal, known, correlationId);
    const token = readToken(x402AccessToken);
    if (!token) return { refused: no(malformedToken, { network: networkOf(paymentRequired) }) };
    return {
      planId: token.planId,
      ask() {
        const { payer, network, planId } = token;
        const due = dueOf(plans.get(planId), maxAmount);
        const balance = accounts.balance(planId, payer) ?? 0;
        const refusal =
          objection(token, paymentRequired) ?? (balance < due ? tooFew(balance, due) : undefined);
        if (refusal) return no(refusal, token);
        return json(201, { isValid: true, payer, network, agentRequestId: nextId() });
      },
    };
  }

  function settle(body: unknown, correlationId: string): Task | Refused {
    const read = settleBody.safeParse(body);
    if (!read.success) return { refused: unreadable(read.error, correlationId) };
    const { paymentRequired, x402AccessToken, maxAmount = 1, agentRequestId = null } = read.data;
    if (maxAmount === 0) {
      const message = "The amount to burn must be positive.";
      return { refused: problem(400, "BCK.CREDITS.0002", message, correlationId) };
    }
    const no = (refusal: Refusal, known: Known) =>
      sayNo("settle", modes.refusals(), refusal, known, correlationId);
    const token = readToken(x402AccessToken);
    if (!token) return { refused: no(malformedToken, { network: networkOf(paymentRequired) }) };
    return {
      planId: token.planId,
      payload: [token.hash, maxAmount],
      agentRequestId,
      apply(origin): Outcome {
        const refusal = objection(token, paymentRequired);
        // Not remembered: a refusal has no transaction that could be repeated.
        if (refusal) return { answer: no(refusal, token), decided: false };
        return burn(token, maxAmount, origin, no);
      },
    };
  }

  function burn(
    token: Token,
    maxAmount: number,
    origin: Origin,
    no: (refusal: Refusal, known: Known) => Answer,
  ): Outcome {
    const { planId, payer, network } = token;
    const due = dueOf(plans.get(planId), maxAmount);
    const burned = accounts.burn({ planId, holderAddress: payer, amount: due }, origin);
    if (!burned.applied) {
      const { balance } = burned;
      return { answer: no(tooFew(balance, due), { network, payer, balance }), decided: false };
    }
    accounts.permissions.spend(token.hash);
    const said = {
      success: true,
      transaction: transactionOf(burned.burnId, planId, payer),
      network,
      ...(modes.answers() !== "empty" && {
        payer,
        billingModel: "credits",
        creditsRedeemed: String(due),
        remainingBalance: String(burned.balance),
      }),
    };
    return { answer: json(201, said), decided: true };
  }

  /** What is wrong with a token that could be read, whatever it is to pay. */
  function objection(token: Token, required: PaymentRequired): Refusal | undefined {
    const permission = accounts.permissions.find(token.hash);
    if (!permission) return strangeToken;
    if (permission.expired) return expiredToken;
    if (permission.singleUse && permission.spent) return spentToken;
    const { planId, network, resourceUrl } = token;
    const matches = required.accepts.some(
      (accept) =>
        accept.scheme === scheme && accept.network === network && accept.planId === planId,
    );
    if (!matches) return otherScheme;
    // Compared for every token that carries one (nevermined-io/payments, src/x402/token-request.ts).
    if (resourceUrl !== undefined && !sameResource(resourceUrl, required.resource.url)) {
      return otherResource;
    }
    return undefined;
  }

  function nextId(): string | undefined {
    const mode = modes.requestIds();
    if (mode === "none") return undefined;
    if (mode !== "repeat" || lastId === undefined) lastId = `arId-${randomUUID()}`;
    return lastId;
  }

  return { permissions, verify, settle };
}

/** The network of a refusal whose token could not be read. */
function networkOf({ accepts }: PaymentRequired): string {
  return accepts[0]?.network ?? "";
}

/** By origin and path, or as they are spelt where one of them is no whole URL. */
function sameResource(one: string, other: string): boolean {
  if (!URL.canParse(one) || !URL.canParse(other)) return one === other;
  const [a, b] = [new URL(one), new URL(other)];
  return a.origin === b.origin && a.pathname === b.pathname;
}

/** Looks like the hash of a transaction on a chain; the same for the same burn. */
function transactionOf(burnId: number, planId: string, payer: string): string {
  return `0x${hash("sha256", JSON.stringify([burnId, planId, payer.toLowerCase()]))}`;
}
