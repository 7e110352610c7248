/** What news of a redemption means for whoever keeps account of what holders owe. */

import type { ChargeEvent, RedemptionStatus } from "../redemption.ts";
import type { News } from "./door.ts";

/**
 * @param was its status before, where it is followed here
 * @param proof of the payment, where it is known here
 * @returns undefined where it changes nothing that is owed
 */
export function chargeEventOf(
  { redemptionId, holderKey, amount, change }: News,
  was: RedemptionStatus | undefined,
  proof: string | null,
): ChargeEvent | undefined {
  if (amount === null || amount === 0) return undefined;
  const charge = { redemptionId, holderKey, amount };
  const record = change.status === "changed" ? change.record : undefined;
  const status = record?.status ?? change.status;
  // What was never sent cannot have been applied, and was not counted as such.
  const wasSent = record ? record.firstSentAt !== null : true;
  const isBack = status === "pending" && record !== undefined;
  const from =
    was === "unresolved" || (was === undefined && isBack)
      ? wasSent
        ? "doubtful"
        : "nothing"
      : "unsettled";
  switch (status) {
    case "sending":
      return record ? undefined : { ...charge, kind: "sending" };
    case "pending":
      return { ...charge, kind: "put-back", from };
    case "completed": {
      // When a balance was true that another process was told, is not known.
      const remainingBalance = change.status === "completed" ? change.remainingBalance : null;
      return {
        ...{ ...charge, kind: "settled", from },
        outcome: { status, remainingBalance, proof },
      };
    }
    case "failed": {
      const reason =
        change.status === "failed" ? change.reason : (record?.error?.reason ?? "ledger-refused");
      const byPerson = record?.error?.code === "operator";
      return { ...charge, kind: "settled", from, outcome: { status, reason, byPerson } };
    }
    case "unresolved": {
      const isDoubtful = record
        ? wasSent
        : !("reason" in change && change.reason === "charge-invalid");
      return {
        ...{ ...charge, kind: "settled", from },
        outcome: { status, wasSent: isDoubtful },
      };
    }
    default:
      return undefined;
  }
}
