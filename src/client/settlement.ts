/** What an exchange at Nevermined's x402 endpoints means. The rows of `outcome.ts` hold here too. */

import type { FailureReason } from "../errors.ts";
import type { Answer, Verification } from "../redemption.ts";
import {
  completed,
  type Dialect,
  type Exchange,
  faultMessage,
  judge,
  kindOf,
  reasonsByCode,
  refused,
  type Said,
  wordsOf,
} from "./outcome.ts";
import { ledgerCredits, readObject } from "./wire.ts";
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

function reasonOf({ status, code, words }: Said): FailureReason {
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
  decided,
  reasonOf,
  // X402.0051: the permission check before the burn could not be completed; X402.0052: what has to be
  // installed before an account can burn at all was not.
  retryable: new Set(["BCK.AUTH.0014", "BCK.X402.0051", "BCK.X402.0052"]),
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

function decided(
  body: Readonly<Record<string, unknown>>,
  requestedAmount: number,
  said: Said,
): Answer | undefined {
  const read = settleReply.safeParse(body);
  // x402, section 5.3.2: an empty string where the settlement failed.
  const isOnChain = typeof body.transaction === "string" && body.transaction !== "";
  if (body.success === false) {
    const burned = ledgerCredits.safeParse(body.creditsRedeemed).data ?? 0;
    if (isOnChain || burned !== 0) {
      return contradiction(said, "it says that it refused, and names what it charged");
    }
    const refusal = withReason(said, body.errorReason);
    return refused(refusal, reasonOf(refusal));
  }
  if (!read.success) return undefined;
  const { transaction, payer, billingModel, ...amounts } = read.data;
  const proof = { ...(transaction && { transaction }), ...(payer && { payer }) };
  if (billingModel !== "pay-as-you-go") return { ...completed(amounts, requestedAmount), ...proof };
  // Credits are "0" here even where the buyer was charged, and a transaction is the only sign of it
  // (nevermined-io/docs, specs/x402-smart-accounts, section 6.4).
  if (!isOnChain) return contradiction(said, "it says that it charged, by no transaction");
  return { ...completed({}, requestedAmount), ...proof };
}

/** A reason that is one word is a code. */
function withReason(said: Said, reason: unknown): Said {
  if (typeof reason !== "string" || reason === "") return said;
  return { ...said, words: reason, ...(/^[\w.]{1,64}$/.test(reason) && { code: reason }) };
}

function contradiction({ status, code, words }: Said, what: string): Answer {
  return {
    status: "unresolved",
    reason: "unexpected-answer",
    code,
    message: `The ledger answered ${status} and contradicts itself: ${what} (${words}).`,
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
