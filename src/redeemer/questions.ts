/** Answers what is asked at the door, from the journal. */

import type { Act, JournalRecord } from "../journal/journal.ts";
import type { QuestionName, Questions } from "./door.ts";
import { withoutSecrets } from "./news.ts";
import type { RedeemerOptions } from "./redeemer-options.ts";

/**
 * Milliseconds after a request's timeout in which its answer may still come: of a process that stood still, or
 * of a ledger that is slow. Nobody decides about the charge before, unless they insist.
 */
export const lateMs = 30_000;

export type Answers = {
  [Name in QuestionName]: (ask: Questions[Name]["ask"]) => Promise<Questions[Name]["answer"]>;
};

/**
 * @param onAct hears of every record that a person has decided about
 * @param follow what becomes of the record is to be told
 */
export function createAnswers(
  { journal, encode, askBalance, now, timeoutMs }: RedeemerOptions,
  onAct: (record: JournalRecord) => void,
  follow: (record: JournalRecord) => void,
): Omit<Answers, "stop" | "reserve" | "account" | "hold" | "release" | "verify"> {
  /** Undefined where the act does not fit the record. */
  function actOf(
    { act, amount }: Questions["act"]["ask"],
    { redemptionId, planId, holderAddress, proof }: JournalRecord,
  ): Act | undefined {
    if (act === "complete") return { act, redeemedAmount: amount };
    if (act !== "supply") return { act };
    if (amount === null || proof === null) return undefined;
    return { act, amount, body: encode({ redemptionId, planId, holderAddress, proof, amount }) };
  }

  function mayStillAnswer(record: JournalRecord | undefined, quietMs: number | undefined) {
    if (quietMs === undefined || !record) return false;
    const isDoubtful =
      record.status === "unresolved" || (record.status === "pending" && record.doubtSince !== null);
    if (!isDoubtful) return false;
    return record.sentAt !== null && now() - record.sentAt < quietMs;
  }

  return {
    async read(asked) {
      const records = await journal.read(asked.redemptionIds);
      if (asked.follow) for (const record of records) follow(record);
      return records.map(withoutSecrets);
    },

    async list(filter) {
      const page = await journal.list(filter);
      return { ...page, records: page.records.map(withoutSecrets) };
    },

    totals: () => journal.totals(),

    async show({ redemptionId }) {
      const [record] = await journal.read([redemptionId]);
      if (!record) return undefined;
      const balance = await askBalance(record.planId, record.holderAddress);
      return {
        record: withoutSecrets(record),
        acts: await journal.acts(redemptionId),
        balanceBefore: await journal.balanceBefore(record),
        balanceNow: balance.told ? { amount: balance.amount, at: now() } : null,
      };
    },

    async act(asked) {
      const { redemptionId, by, note, force = false } = asked;
      const [record] = await journal.read([redemptionId]);
      const act = record && actOf(asked, record);
      const quietMs = force ? undefined : timeoutMs + lateMs;
      const changed =
        act && (await journal.act(act, { redemptionId, by, note, at: now() }, quietMs));
      if (!changed) return mayStillAnswer(record, quietMs) ? "too-early" : undefined;
      onAct(changed);
      return withoutSecrets(changed);
    },
  };
}
