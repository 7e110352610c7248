/** Sends hostile requests to metered APIs in this process, and judges every answer. */

import { type Answer, faultOf, isPaid } from "./answers.ts";
import { startApis } from "./apis.ts";
import { createClient } from "./client.ts";
import { type Memory, measureMemory } from "./memory.ts";
import { createRequests, type HostileRequest } from "./requests.ts";

export interface FuzzOptions {
  readonly requests: number;
  readonly seed: number;
  /** Hears how far it is, a tenth at a time. */
  readonly report?: (line: string) => void;
}

export interface FuzzResult {
  readonly seed: number;
  readonly requests: number;
  readonly seconds: number;
  /** How many answers had each status; `none` where the connection ended instead. */
  readonly statuses: Readonly<Record<string, number>>;
  readonly kinds: Readonly<Record<string, number>>;
  /** Answers that say that they are charged, and charges at the ledger. */
  readonly paid: number;
  readonly burns: number;
  /** After the first tenth, and at the end. */
  readonly memory: readonly [Memory, Memory];
  /** What must not happen, the first of them. */
  readonly faults: readonly string[];
  readonly faultCount: number;
}

/**
 * Whether all that was paid is burned, and nothing else: but for answers that came when a client had given
 * them up, and saw none of.
 */
export function burnsAgree({ paid, burns, statuses }: FuzzResult): boolean {
  return burns >= paid && burns - paid <= (statuses.none ?? 0);
}

const connections = 16;
/** Requests in one write. */
const pipelined = 8;
const faultsKept = 10;

export async function runFuzz({ requests, seed, report }: FuzzOptions): Promise<FuzzResult> {
  const faults: string[] = [];
  let faultCount = 0;
  const onFault = (fault: string) => {
    faultCount += 1;
    if (faults.length < faultsKept) faults.push(fault);
  };
  const onRejection = (reason: unknown) => {
    onFault(`unhandled rejection: ${reason instanceof Error ? reason.stack : String(reason)}`);
  };
  process.on("unhandledRejection", onRejection);
  const apis = await startApis(onFault);
  const clients = Array.from({ length: connections }, () => ({
    headers: createClient(apis.ports.headers),
    body: createClient(apis.ports.body),
  }));

  const statuses: Record<string, number> = {};
  const kinds: Record<string, number> = {};
  let paid = 0;
  let judged = 0;
  const began = performance.now();

  function judge(request: HostileRequest, answer: Answer | undefined) {
    judged += 1;
    kinds[request.kind] = (kinds[request.kind] ?? 0) + 1;
    const status = answer?.status ?? "none";
    statuses[status] = (statuses[status] ?? 0) + 1;
    if (answer && isPaid(answer)) paid += 1;
    const fault = faultOf(request, answer);
    if (fault)
      onFault(`${request.kind}: ${fault}; ${JSON.stringify(request.bytes.slice(0, 1_500))}`);
    if (report && judged % Math.ceil(requests / 10) === 0) report(`${judged} of ${requests}`);
  }

  const next = createRequests(seed);
  /** Sends so many more, on all connections, and waits for their answers. */
  async function fire(count: number) {
    const batches = batchesOf(next, count);
    await Promise.all(
      clients.map(async (client) => {
        for (const batch of batches) {
          const answers = await client[batch[0]?.to ?? "body"].send(batch);
          for (const [at, request] of batch.entries()) judge(request, answers[at]);
        }
      }),
    );
    await apis.settle();
  }

  try {
    const first = Math.ceil(requests / 10);
    await fire(first);
    const early = await measureMemory();
    await fire(requests - first);
    const late = await measureMemory();
    const seconds = (performance.now() - began) / 1_000;
    return {
      seed,
      requests: judged,
      seconds,
      statuses,
      kinds,
      paid,
      burns: apis.burns(),
      memory: [early, late],
      faults,
      faultCount,
    };
  } finally {
    for (const { headers, body } of clients) {
      headers.close();
      body.close();
    }
    await apis.close();
    process.off("unhandledRejection", onRejection);
  }
}

/** Requests to one API that can share a connection; one that may end its connection is alone. */
function* batchesOf(next: () => HostileRequest, count: number): Generator<HostileRequest[]> {
  const waiting = { headers: [] as HostileRequest[], body: [] as HostileRequest[] };
  for (let drawn = 0; drawn < count; drawn += 1) {
    const request = next();
    if (request.isLast) {
      yield [request];
      continue;
    }
    const batch = waiting[request.to];
    batch.push(request);
    if (batch.length < pipelined) continue;
    yield batch;
    waiting[request.to] = [];
  }
  yield* Object.values(waiting).filter((batch) => batch.length > 0);
}
