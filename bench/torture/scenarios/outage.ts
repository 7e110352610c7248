/** The ledger goes away, and then a proxy in front of it answers 502 for a while. */

import { setTimeout as sleep } from "node:timers/promises";
import { conductOf, delays } from "../ledger.ts";
import { judge, least, most, type Verdict } from "../verdict.ts";
import { openWorld, type WorldOptions } from "../world.ts";

export interface OutageOptions extends WorldOptions {
  readonly outageMs: number;
}

const backoff = { baseMs: 5, maxMs: 200 };
const circuit = 5;

export async function runOutage(options: OutageOptions): Promise<Verdict> {
  const world = await openWorld({ ...options, server: { ...options.server, backoff, circuit } });
  const { ledger } = world.ledger;
  try {
    ledger.setFaults(delays);
    const server = world.start(0);
    await server.ready;
    world.load(true);
    await world.served(300);

    const unresolved = async () => (await world.journal.states()).unresolved ?? 0;
    const before = await unresolved();
    await ledger.goAway();
    await sleep(options.outageMs);
    await world.served(20);
    const waited = (await world.journal.states()).pending ?? 0;
    await ledger.comeBack();
    await world.served(200);
    const byAbsence = (await unresolved()) - before;
    options.report(`the ledger was away: ${waited} waited, ${byAbsence} are unresolved`);

    const answers = () => ledger.requests().redeem[502] ?? 0;
    ledger.setFaults({ ...delays, "error-after-applying": { rate: 1, status: 502 } });
    await sleep(options.outageMs);
    const answered = answers();
    ledger.setFaults(delays);
    await sleep(500);
    const byGateway = (await unresolved()) - before - byAbsence;
    options.report(`the ledger answered 502 ${answered} times: ${byGateway} are unresolved`);

    const settled = await world.settle(60_000);
    // Idle connections that the ledger closed under a charge are not the outage's.
    const broken = settled.comparison.unresolved["answer-lost ECONNRESET"] ?? 0;
    const probes = 10 + (4 * options.outageMs) / backoff.maxMs;
    const honours = options.ledger === "honour";
    return judge("outage", settled, world, {
      rules: [
        least("charges that waited while the ledger was away", waited, 10),
        most("unresolved by its absence", byAbsence, honours ? 0 : world.concurrency + broken),
        most(
          "unresolved by its 502s",
          byGateway,
          honours ? 0 : world.concurrency + circuit + probes + broken,
        ),
      ],
      figures: {
        ledger: conductOf(options.ledger, options.protocol),
        "outage, ms": options.outageMs,
        "waited while it was away": waited,
        "unresolved by its absence": byAbsence,
        "answers 502": answered,
        "unresolved by them": byGateway,
      },
    });
  } finally {
    await world.close();
  }
}
