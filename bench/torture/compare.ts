/** Compares the three sets by id: responses received whole, records in the journal, burns. Pure. */

import type { RecordSeen, States } from "./journal-view.ts";
import type { BurnSeen } from "./ledger.ts";
import type { RequestSeen } from "./messages.ts";

/** One life of a server that ended by force, and what its journal held then. */
export interface Death {
  readonly life: number;
  /** Monotonic time right before it was ended. */
  readonly at: number;
  readonly how: "kill" | "exit" | "exception" | "worker";
  /** Milliseconds since it was started. */
  readonly livedMs: number;
  readonly states: States;
  readonly sending: readonly string[];
  /** Those of `sending` that the server itself had taken. */
  readonly own: readonly string[];
}

export interface Evidence {
  readonly requests: readonly RequestSeen[];
  readonly records: readonly RecordSeen[];
  readonly burns: readonly BurnSeen[];
  readonly deaths: readonly Death[];
}

/** A response that was delivered and has no record. */
export interface Lost {
  readonly redemptionId: string;
  readonly life: number;
  /** How its server ended; null: it did not. */
  readonly how: Death["how"] | null;
  /** Milliseconds from its handler's answer to the end of its server. */
  readonly ageMs: number;
  /** Responses of the same server that were answered clearly later and have a record. */
  readonly overtakenBy: number;
  /** Milliseconds that its server had lived when it was ended. */
  readonly livedMs: number;
}

export interface Comparison {
  readonly requests: number;
  /** Responses of priced routes that were received whole. */
  readonly delivered: number;
  /** Requests whose connection was cut before the response was there. */
  readonly cut: number;
  /** Requests that were answered with a refusal (503) or a failure: free. */
  readonly free: number;
  /** Of these, refused with 503 by the meter. */
  readonly refused: number;
  readonly records: number;
  readonly settled: States;
  readonly unresolved: States;
  readonly burned: number;
  readonly lost: readonly Lost[];
  /** Ids that were burned more than once. */
  readonly doubled: readonly string[];
  /** Requests that were burned more than once, under whatever ids. */
  readonly doubledRequests: readonly number[];
  /** Burned, while the client was cut off by the end of the server: legal. */
  readonly burnedButCut: number;
  /** Burned for a response that was free, that was never asked for, or under another's id. */
  readonly burnedForNothing: readonly string[];
  readonly burnedWithoutRecord: readonly string[];
  /** Records, burns and routes that do not say the same amount. */
  readonly amountsDiffer: readonly string[];
  /** Records whose status and number of burns contradict each other. */
  readonly contradictions: readonly string[];
  /** Delivered, and the record is neither charged nor on the list of a person. */
  readonly deliveredUncharged: readonly string[];
  /** `OWNER_GONE`, but no death found them on the wire. */
  readonly ownerGoneUnseen: readonly string[];
}

/** Two handlers' answers this far apart were handed over in that order, whatever their sockets did. */
const orderMs = 50;

export function compare({ requests, records, burns, deaths }: Evidence): Comparison {
  const byNumber = new Map(requests.map((request) => [request.number, request]));
  const recordOf = new Map(records.map((record) => [record.redemptionId, record]));
  const isCharged = ({ status, amount }: RequestSeen) => status === 200 && amount > 0;
  const delivered = requests.filter((seen) => seen.came === "whole" && isCharged(seen));
  const isFree = (seen: RequestSeen) => seen.status !== 0 && !isCharged(seen);

  const burnsOf = new Map<string, BurnSeen[]>();
  const burnsOfRequest = new Map<number, number>();
  const burnedForNothing: string[] = [];
  let burnedButCut = 0;
  for (const burn of burns) {
    const id = burn.redemptionId ?? "";
    burnsOf.set(id, [...(burnsOf.get(id) ?? []), burn]);
    const request = byNumber.get(burn.request ?? Number.NaN);
    if (!request || isFree(request)) {
      burnedForNothing.push(`${id} for request ${burn.request}`);
      continue;
    }
    burnsOfRequest.set(request.number, (burnsOfRequest.get(request.number) ?? 0) + 1);
    if (request.redemptionId !== null && request.redemptionId !== id) {
      burnedForNothing.push(`${id} for request ${burn.request}, which is ${request.redemptionId}`);
    } else if (request.came !== "whole") burnedButCut += 1;
  }

  const amountsDiffer: string[] = [];
  const contradictions: string[] = [];
  for (const { redemptionId, status, reason, amount } of records) {
    const burned = burnsOf.get(redemptionId) ?? [];
    if (burned.some((burn) => burn.amount !== amount)) amountsDiffer.push(redemptionId);
    const [least, most] = burnsThatFit(status, reason);
    if (burned.length < least || burned.length > most) {
      contradictions.push(`${redemptionId}: ${status} (${reason}), ${burned.length} burns`);
    }
  }
  const deliveredUncharged: string[] = [];
  for (const { redemptionId, amount } of delivered) {
    const record = recordOf.get(redemptionId ?? "");
    if (!record) continue;
    // Under strict durability the price of what was never confirmed is not known.
    const unknown = record.reason === "delivery-unconfirmed" && record.amount === null;
    if (record.amount !== amount && !unknown) amountsDiffer.push(record.redemptionId);
    if (!["completed", "failed", "unresolved"].includes(record.status)) {
      deliveredUncharged.push(`${record.redemptionId}: ${record.status}`);
    }
  }

  const seenSending = new Set(deaths.flatMap(({ sending }) => sending));
  return {
    requests: requests.length,
    delivered: delivered.length,
    cut: requests.filter(({ came }) => came !== "whole").length,
    free: requests.filter((seen) => seen.came === "whole" && !isCharged(seen)).length,
    refused: requests.filter(({ status }) => status === 503).length,
    records: records.length,
    settled: tally(records.map(({ status }) => status)),
    unresolved: tally(
      records
        .filter(({ status }) => status === "unresolved")
        .map(({ reason, code }) => `${reason} ${code}`),
    ),
    burned: burnsOf.size,
    lost: findLost(delivered, recordOf, deaths),
    doubled: [...burnsOf].filter(([, list]) => list.length > 1).map(([id]) => id),
    doubledRequests: [...burnsOfRequest].filter(([, count]) => count > 1).map(([at]) => at),
    burnedButCut,
    burnedForNothing,
    burnedWithoutRecord: [...burnsOf.keys()].filter((id) => !recordOf.has(id)),
    amountsDiffer,
    contradictions,
    deliveredUncharged,
    ownerGoneUnseen: records
      .filter(({ status, code }) => status === "unresolved" && code === "OWNER_GONE")
      .map(({ redemptionId }) => redemptionId)
      .filter((id) => !seenSending.has(id)),
  };
}

/** How many burns a record in such a state may have: at least, at the most. */
function burnsThatFit(status: string, reason: string | null): [least: number, most: number] {
  if (status === "completed") return [1, 1];
  // Its charge was never sent.
  if (reason === "delivery-unconfirmed") return [0, 0];
  return status === "unresolved" ? [0, 1] : [0, 0];
}

function findLost(
  delivered: readonly RequestSeen[],
  recordOf: ReadonlyMap<string, RecordSeen>,
  deaths: readonly Death[],
): Lost[] {
  const deathOf = new Map(deaths.map((death) => [death.life, death]));
  const isLost = ({ redemptionId }: RequestSeen) => !recordOf.has(redemptionId ?? "");
  return delivered.filter(isLost).map((seen) => {
    const death = deathOf.get(seen.life);
    return {
      redemptionId: seen.redemptionId ?? "",
      life: seen.life,
      how: death?.how ?? null,
      ageMs: death ? death.at - seen.answeredAt : Number.POSITIVE_INFINITY,
      livedMs: death?.livedMs ?? Number.POSITIVE_INFINITY,
      overtakenBy: delivered.filter(
        (other) =>
          other.life === seen.life &&
          other.answeredAt > seen.answeredAt + orderMs &&
          !isLost(other),
      ).length,
    };
  });
}

function tally(words: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1;
  return counts;
}
