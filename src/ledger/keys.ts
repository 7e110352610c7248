import { type Answer, problem } from "./answers.ts";
import type { LedgerBuyer, ReadOptions } from "./options.ts";

/** What a request may do: `owns` is false for plans of others. */
export interface Rights {
  owns(planId: string): boolean;
  /** Whose key it is, where it is a buyer's. */
  holderAddress?: string;
}

export interface Keys {
  judge(authorization: string | undefined, correlationId: string): Rights | { refused: Answer };
  /** Throws a `TypeError` when somebody else has the key. */
  addBuyer(buyer: Required<LedgerBuyer>): void;
}

/** Who may ask: the bearer keys, judged with the codes of Nevermined's error catalogue. */
export function createKeys(keys: ReadOptions["keys"]): Keys {
  const known = new Map<string, Rights & { registered: boolean }>();
  for (const { key, plans, registered = true } of keys) {
    const owned = plans && new Set(plans);
    known.set(key, { registered, owns: (planId) => owned?.has(planId) ?? true });
  }

  function addBuyer({ key, holderAddress }: Required<LedgerBuyer>): void {
    const other = known.get(key);
    if (other && other.holderAddress?.toLowerCase() !== holderAddress.toLowerCase()) {
      throw new TypeError(
        `The key of the buyer ${holderAddress} is somebody else's: give another.`,
      );
    }
    if (!other) known.set(key, { registered: true, owns: () => false, holderAddress });
  }

  const judge: Keys["judge"] = (authorization, correlationId) => {
    const refuse = (status: number, code: string, message: string) => ({
      refused: problem(status, code, message, correlationId),
    });
    if (!authorization) {
      return refuse(401, "BCK.AUTH.0002", "Send the header Authorization: Bearer <API key>.");
    }
    const key = /^bearer +(\S+)$/i.exec(authorization)?.[1];
    if (!key) {
      return refuse(
        401,
        "BCK.APIKEY.0006",
        "The Authorization header must be the word Bearer and an API key.",
      );
    }
    const rights = known.get(key);
    if (!rights) return refuse(401, "BCK.APIKEY.0004", "The API key is not valid.");
    if (!rights.registered) {
      return refuse(403, "BCK.APIKEY.0001", "The API key is not registered.");
    }
    return rights;
  };
  return { judge, addBuyer };
}

/** The refusal of a key under which there are no credits to pay with. */
export function noBuyer(correlationId: string): Answer {
  return problem(
    404,
    "BCK.X402.0011",
    "User profile not found: the API key is not a buyer's.",
    correlationId,
  );
}

/** The refusal of a plan that the key does not own. */
export function notOwner(planId: string, correlationId: string): Answer {
  return problem(
    403,
    "BCK.AUTH.0003",
    `The API key does not belong to the owner of plan ${planId}.`,
    correlationId,
  );
}
