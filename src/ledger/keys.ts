import { type Answer, problem } from "./answers.ts";
import type { ReadOptions } from "./options.ts";

/** What a request may do: `owns` is false for plans of others. */
export interface Rights {
  owns(planId: string): boolean;
}

/** Who may ask: the bearer keys, judged with the codes of Nevermined's error catalogue. */
export function createKeys(keys: ReadOptions["keys"]) {
  const known = new Map(
    keys.map(({ key, plans, registered = true }) => {
      const owned = plans && new Set(plans);
      return [key, { registered, owns: (planId: string) => owned?.has(planId) ?? true }];
    }),
  );
  return function judge(
    authorization: string | undefined,
    correlationId: string,
  ): Rights | { refused: Answer } {
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
