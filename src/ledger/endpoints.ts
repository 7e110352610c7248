import { z } from "zod";
import type { Accounts, Origin } from "./accounts.ts";
import { type Answer, json, problem } from "./answers.ts";
import { mistakes } from "./check.ts";
import { type AnswerStyle, dueOf, type ReadOptions, type RedeemRequest } from "./options.ts";

/** A request that can be carried out: it has been read, and its sender may ask for it. */
export interface Task {
  planId: string;
  /** What must be equal for a repeated key of idempotency. */
  payload: readonly unknown[];
  /** What makes a settlement idempotent, in place of the header; `null` when it was not given. */
  agentRequestId?: string | null;
  /** To be called once, in a transaction. */
  apply(origin: Origin): Outcome;
}

/** `decided`: applied, or refused for its credits or proof; worth remembering. */
export interface Outcome {
  answer: Answer;
  decided: boolean;
}

const text = z.string().min(1, "must not be empty");
const movement = { planId: text, holderAddress: text, amount: z.int() };
const redeemBody = z.object({ ...movement, proof: z.string() });
const mintBody = z.object(movement);

/** What the endpoints do, apart from HTTP. */
export function createEndpoints(
  accounts: Accounts,
  { plans, acceptProof }: Pick<ReadOptions, "plans" | "acceptProof">,
  style: () => AnswerStyle,
) {
  const credits = (amount: number) => (style() === "strings" ? String(amount) : amount);

  function accepts(request: RedeemRequest): boolean {
    if (!acceptProof) return true;
    let accepted: unknown;
    try {
      accepted = acceptProof(request);
    } catch (cause) {
      // Not the error's own words: they may quote the proof.
      throw new Error("The option acceptProof threw.", { cause });
    }
    if (typeof accepted === "boolean") return accepted;
    throw new TypeError("The option acceptProof must return true or false at once.");
  }

  function redeem(body: unknown, correlationId: string): Task | { refused: Answer } {
    const read = redeemBody.safeParse(body);
    if (!read.success) return { refused: unreadable(read.error, correlationId) };
    const { planId, holderAddress, amount, proof } = read.data;
    const refuse = (status: number, code: string, message: string): Outcome => ({
      answer: problem(status, code, message, correlationId),
      decided: true,
    });
    if (amount <= 0) {
      const message = "The amount to burn must be positive.";
      return { refused: problem(400, "BCK.CREDITS.0002", message, correlationId) };
    }
    return {
      planId,
      payload: [planId, holderAddress.toLowerCase(), amount, proof],
      apply(origin) {
        if (proof === "") {
          return refuse(403, "BCK.PROTOCOL.0029", "A proof is required to redeem credits.");
        }
        if (!accepts({ planId, holderAddress, amount, proof }))
          return refuse(403, "BCK.PROTOCOL.0030", "The proof is not valid.");
        const due = dueOf(plans.get(planId), amount);
        const burned = accounts.burn({ planId, holderAddress, amount: due }, origin);
        if (!burned.applied) {
          const message = `Insufficient credits: the holder has ${burned.balance} of plan ${planId}, ${due} are needed.`;
          return refuse(402, "BCK.CREDITS.0003", message);
        }
        const said = {
          success: true,
          creditsRedeemed: credits(due),
          remainingBalance: credits(burned.balance),
        };
        return { answer: json(200, style() === "empty" ? {} : said), decided: true };
      },
    };
  }

  function mint(body: unknown, correlationId: string): Task | { refused: Answer } {
    const read = mintBody.safeParse(body);
    if (!read.success) return { refused: unreadable(read.error, correlationId) };
    const { planId, holderAddress, amount } = read.data;
    const refuse = (message: string) => problem(400, "BCK.HTTP.400", message, correlationId);
    if (amount <= 0) return { refused: refuse("The amount to mint must be positive.") };
    return {
      planId,
      payload: [planId, holderAddress.toLowerCase(), amount],
      apply(origin) {
        const minted = accounts.mint(read.data, origin);
        if (!minted.applied) return { answer: refuse(tooMany(minted.balance)), decided: false };
        const said = {
          success: true,
          planId,
          holderAddress,
          amount: credits(amount),
          balance: credits(minted.balance),
        };
        return { answer: json(200, said), decided: true };
      },
    };
  }

  function balance(planId: string, holderAddress: string, correlationId: string): Answer {
    const held = accounts.balance(planId, holderAddress);
    const name = plans.get(planId)?.name ?? planId;
    if (held === undefined) {
      return plans.has(planId) || accounts.knows(planId)
        ? problem(
            404,
            "BCK.USER_PROFILE.0002",
            `The holder has no account on plan ${planId}.`,
            correlationId,
          )
        : problem(404, "BCK.PROTOCOL.0003", `Plan not found: ${planId}.`, correlationId);
    }
    return json(200, {
      planId,
      planName: name,
      planType: "credits",
      holderAddress,
      balance: credits(held),
      isSubscriber: held > 0,
      pricePerCredit: 0,
    });
  }

  return { redeem, mint, balance };
}

/** Why a mint was refused, as a sentence. */
export function tooMany(balance: number): string {
  return `The holder has ${balance} credits; with these it would be more than ${Number.MAX_SAFE_INTEGER}, or the plan would have more than 2^63 outstanding: mint fewer.`;
}

/** The refusal of a body that does not have the shape that it must have. */
export function unreadable(error: z.ZodError, correlationId: string): Answer {
  return problem(400, "BCK.HTTP.400", `Mend the body: ${mistakes(error)}.`, correlationId);
}
