/** What an exchange at Nevermined's x402 endpoints means. The rows of `outcome.ts` hold here too. */

import type { FailureReason } from "../errors.ts";
import type { Answer, Verification } from "../redemption.ts";
import {
  type Body,
  type Credits,
  completed,
  type Dialect,
  type Exchange,
  faultMessage,
  judge,
  kindOf,
  reasonsByCode,
  type Said,
  withReason,
  wordsOf,
} from "./outcome.ts";
import { readObject } from "./wire.ts";
import { settleReply, verifyReply } from "./x402-wire.ts";

/** Codes of Nevermined's catalogue (nevermined-io/docs, development-guide/api-errors/codes.mdx). */
const reasonsByX402Code: ReadonlyMap<string, FailureReason> = new Map<string, FailureReason>([
  ...reasonsByCode,
  // A delegation that is used up or too small, a card that was declined.
  ...numbered("insufficient-credits", [22, 23, 49]),
  // The token: invalid, not what the seller takes, used already.
  ...numbered("proof-refused", [5, 10, 13, 54, 59]),
  // The permission or delegation behind it.
  ...numbered("proof-refused", [14, 15, 16, 19, 20, 21, 24, 25, 26, 27, 28, 29, 35, 36]),
]);

function numbered(reason: FailureReason, numbers: readonly number[]) {
  return numbers.map((it) => [`BCK.X402.${String(it).padStart(4, "0")}`, reason] as const);
}

/**
 * A refusal on a 201 has no code: its words are those of the catalogue, of x402 (section 9) or of
 * Nevermined's schemes (specs/x402-smart-accounts and x402-card-delegation, section 7.1).
 */
const aboutCredits =
  /insufficient[_ ](?:balance|credits?|funds)|budget[_ ](?:exceeded|exhausted)|card[_ ]declined/i;
const aboutTheToken =
  /token|signature|payload|session[_ ]key|delegation|permission|does not match requirements/i;

function reasonOf(said: Said): FailureReason {
  const reason = anyReasonOf(said);
  // The catalogue has one code for every token that does not pay; only the words tell this one.
  return reason === "proof-refused" && aboutExpiry.test(said.words) ? "payment-expired" : reason;
}

const aboutExpiry = /\bexpired\b|valid_?before/i;

function anyReasonOf({ status, code, words }: Said): FailureReason {
  const known = reasonsByX402Code.get(code);
  if (known) return known;
  if (aboutCredits.test(words)) return "insufficient-credits";
  if (aboutTheToken.test(words)) return "proof-refused";
  // By Nevermined's document a 402 of a settlement means this where nothing else is said.
  const isBare = status === 402 && !/^BCK\.(?!HTTP\.)/.test(code);
  return isBare ? "insufficient-credits" : "ledger-refused";
}

const settlement: Dialect = {
  charge: "settlement",
  mend: "check the base URL of the environment",
  completed: settled,
  reasonOf,
  id: { name: "agentRequestId", words: /agent[-_ ]?request[-_ ]?id|idempotency[-_ ]?key/i },
};

/**
 * What an exchange at `POST /x402/settle` means.
 *
 * @param exchange what was written and what came back
 * @param requestedAmount credits that were asked for
 * @param now milliseconds since 1970, for a `Retry-After` that is a date
 */
export function readSettlement(exchange: Exchange, requestedAmount: number, now: number): Answer {
  return judge(settlement, exchange, requestedAmount, now);
}

function settled(body: Body, credits: Credits, requestedAmount: number): Answer {
  const { transaction, orderTx, payer, billingModel } = settleReply.parse(body);
  const isInCredits = billingModel === undefined || billingModel === "credits";
  // A sale in money names "0" credits, which says nothing of what was charged; its reference is the order
  // where the money is on a card (nevermined-io/docs, specs/x402-smart-accounts, section 6.4).
  const told = isInCredits ? credits : { redeemed: null, remaining: null };
  const reference = transaction ?? orderTx;
  return {
    ...completed(told, requestedAmount),
    ...(reference !== undefined && { transaction: reference }),
    ...(payer !== undefined && { payer }),
  };
}

/**
 * What an exchange at `POST /x402/verify` means. Nothing is burned there, so whatever is unclear is "away".
 */
export function readVerification({ answer, fault }: Exchange): Verification {
  if (!answer) return away(`The ledger did not answer (${fault?.message ?? "no answer"}).`);
  const { status } = answer;
  const body = readObject(answer.body);
  const said = wordsOf(status, body);
  if (status === 200 || status === 201) {
    const read = verifyReply.safeParse(body);
    if (!read.success)
      return away(`The ledger answered ${status} with a body that cannot be read.`);
    const { isValid, payer, agentRequest, agentRequestId, invalidReason } = read.data;
    if (!isValid) return invalid(withReason(said, invalidReason));
    const id = agentRequest?.agentRequestId ?? agentRequestId;
    return { status: "valid", agentRequestId: id, payer };
  }
  const kind = kindOf(said, answer.body);
  if (kind === "refused") return invalid(said);
  if (kind === "key" || kind === "route") {
    return away(faultMessage(kind, settlement.mend, said.words));
  }
  // The ledger's framework cannot read the question, and what of it varies is the buyer's token.
  if (status === 400 && said.code === "BCK.HTTP.400") return invalid(said);
  return away(`The ledger answered ${status} (${said.words}).`);
}

function invalid(said: Said): Verification {
  return { status: "invalid", reason: reasonOf(said), message: said.words };
}

function away(message: string): Verification {
  return { status: "away", message };
}
