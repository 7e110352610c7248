/** What news of a redemption means for whoever keeps account of what holders owe. */

import type { ChargeEvent, RedemptionStatus } from "../redemption.ts";
import type { News } from "./door.ts";

/**
 * @param status its status before, where it is followed here
 * @param proof of the payment, where it is known here
 * @returns undefined where it changes nothing that is owed
 */
export function chargeEventOf(
  { redemptionId, holderKey, amount, change }: News,
  status: RedemptionStatus | undefined,
  proof: string | null,
): ChargeEvent | undefined {
  const record = change.status === "changed" ? change.record : undefined;
  const next = record?.status ?? change.status;
  // What was never sent cannot have been applied: it had no price, and its hold counted.
  const wasSent = record ? record.firstSentAt !== null : true;
  const wasOpen = status === "unresolved" || (status === undefined && record && next === "pending");
  const was = !wasOpen
    ? { unsettled: amount ?? 0, doubtful: 0 }
    : wasSent
      ? { unsettled: 0, doubtful: amount ?? 0 }
      : { unsettled: record?.hold ?? 0, doubtful: 0 };
  const charge = { redemptionId, holderKey, amount: amount ?? 0 };
  switch (next) {
    case "sending":
      return record ? undefined : { ...charge, kind: "sending" };
    case "pending":
      return { ...charge, kind: "put-back", was };
    case "completed": {
      // When a balance was true that another process was told, is not known.
      const remainingBalance = change.status === "completed" ? change.remainingBalance : null;
      const outcome = { status: next, remainingBalance, proof } as const;
      return { ...charge, kind: "settled", was, outcome };
    }
    case "failed": {
      const reason =
        change.status === "failed" ? change.reason : (record?.error?.reason ?? "ledger-refused");
      const byPerson = record?.error?.code === "operator";
      const outcome = { status: next, reason, byPerson, proof } as const;
      return { ...charge, kind: "settled", was, outcome };
    }
    case "unresolved": {
      const reason = record ? record.error?.reason : "reason" in change && change.reason;
      const outcome = {
        status: next,
        wasSent: record ? wasSent : reason !== "charge-invalid",
      } as const;
      return { ...charge, kind: "settled", was, outcome };
    }
    default:
      return undefined;
  }
}
