/** What an exchange about a balance means. */

import { z } from "zod";
import type { BalanceReading } from "../redemption.ts";
import { domainCode, type Exchange, keyCode, wordsOf } from "./outcome.ts";
import { ledgerCredits, readObject } from "./wire.ts";

/** A balance in credits, from either of the two shapes that Nevermined documents. */
const balanceReply = z.looseObject({
  balance: ledgerCredits.optional().catch(undefined),
  remaining: ledgerCredits.optional().catch(undefined),
});

/** What an exchange at `GET /protocol/plans/<plan>/balance/<holder>` means. */
export function readBalance({ answer, fault }: Exchange): BalanceReading {
  if (!answer) {
    const message = `The ledger did not answer (${fault?.message ?? "no answer"}).`;
    return { told: false, answered: false, message };
  }
  const { status } = answer;
  const body = readObject(answer.body);
  const { code, words } = wordsOf(status, body);
  if (status === 200) {
    const reply = balanceReply.parse(body ?? {});
    const amount = reply.balance ?? reply.remaining;
    if (amount !== undefined) return { told: true, amount };
  }
  // Nevermined documents 404 for a plan or holder that it does not know, who has nothing then. So does any
  // gateway, for a route that it does not know: only a code of the ledger's own says that it was asked.
  if (status === 404 && domainCode.test(code) && !keyCode.test(code)) {
    return { told: true, amount: 0 };
  }
  const answered = status < 500 && status !== 408 && status !== 429;
  const message = `The ledger answered ${status} to the question about a balance (${words}).`;
  return { told: false, answered, message };
}
