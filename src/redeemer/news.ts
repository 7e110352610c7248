/**
 * News of redemptions that were handed over here and that someone else changes: another process sends
 * them, or a person decides about them.
 */

import { dropOldest } from "../drop-oldest.ts";
import type { Journal, JournalRecord, RecordStatus } from "../journal/journal.ts";
import { holderKeyOf } from "../redemption.ts";
import type { News as Told } from "./door.ts";

/** Redemptions that are followed, the newest, and those of them that one look reads. */
const maxFollowed = 10_000;
const readAtOnce = 1_000;

export interface News {
  /** From now on its news is wanted. */
  follow(redemptionId: string, status: RecordStatus): void;
  /** This process knows already; what is final is not followed any more. */
  know(redemptionId: string, status: RecordStatus): void;
  /** Reads some of them again, in turn; returns what has come to an end or back from it elsewhere. */
  hear(): Promise<Told[]>;
}

export function createNews(journal: Journal, isOurs: (redemptionId: string) => boolean): News {
  /** The longest unread first. */
  const followed = new Map<string, RecordStatus>();

  function follow(redemptionId: string, status: RecordStatus) {
    followed.delete(redemptionId);
    if (status === "completed" || status === "failed" || status === "skipped") return;
    followed.set(redemptionId, status);
    if (followed.size > maxFollowed) dropOldest(followed, maxFollowed / 8);
  }

  async function readSome(): Promise<Told[]> {
    const ids: string[] = [];
    for (const id of followed.keys()) {
      if (ids.length === readAtOnce) break;
      if (!isOurs(id)) ids.push(id);
    }
    if (ids.length === 0) return [];
    const records = new Map(
      (await journal.read(ids)).map((record) => [record.redemptionId, record]),
    );
    const changes: Told[] = [];
    for (const id of ids) {
      const known = followed.get(id);
      // Settled, or taken for sending, by this process while the journal was read.
      if (known === undefined || isOurs(id)) continue;
      const record = records.get(id);
      if (!record) {
        followed.delete(id);
        continue;
      }
      follow(id, record.status);
      // That another process sends it is no news: what comes of it is.
      const cameBack = known === "unresolved" && record.status !== known;
      if (cameBack || (isEnd(record.status) && record.status !== known)) {
        changes.push(newsOf(record));
      }
    }
    return changes;
  }

  return {
    follow,
    know(redemptionId, status) {
      if (followed.has(redemptionId)) follow(redemptionId, status);
    },

    async hear() {
      const changes: Told[] = [];
      // Where some have changed, there may be more than one look reads: it must not fall behind.
      for (let reads = 0; reads < maxFollowed / readAtOnce; reads += 1) {
        const some = await readSome();
        changes.push(...some);
        if (some.length === 0) break;
      }
      return changes;
    },
  };
}

function isEnd(status: RecordStatus): boolean {
  return status !== "pending" && status !== "sending" && status !== "prepared";
}

/** Records leave the door without what a buyer must keep secret. */
export function withoutSecrets(record: JournalRecord): JournalRecord {
  return { ...record, proof: null, body: null };
}

export function newsOf(record: JournalRecord): Told {
  const { redemptionId, planId, holderAddress, amount } = record;
  const change = { status: "changed", record: withoutSecrets(record) } as const;
  return { redemptionId, holderKey: holderKeyOf(planId, holderAddress), amount, change };
}
