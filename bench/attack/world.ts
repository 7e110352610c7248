/** What is attacked: a metered API on an embedded ledger, over real sockets, all in one process. */

import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import express, { type Request, type Response } from "express";
import {
  type CreditMeter,
  creditMeter,
  type GuardSettings,
  type RoutePrice,
} from "../../src/index.ts";
import { createLedger, type Ledger, type LedgerOptions } from "../../src/ledger/index.ts";
import { type Call, createCrowd, numberHeader, plan, type Seen } from "./crowd.ts";
import { quietLogger } from "./quiet.ts";
import { type Bound, type Row, rowOf, type Taken } from "./row.ts";

export interface Setting {
  /** What one answer costs, and how the meter is told so. */
  readonly price: number;
  readonly route?: RoutePrice;
  readonly guard?: GuardSettings;
  readonly ledger?: LedgerOptions;
  readonly abortGraceMs?: number;
  /** Stands between meter and ledger, where one is wanted. */
  readonly between?: (baseUrl: string) => string;
  /** Default: a small JSON document. */
  readonly answer?: (req: Request, res: Response) => void;
}

export interface World {
  readonly ledger: Ledger;
  readonly meter: CreditMeter;
  readonly port: number;
  mint(holder: string, credits: number): void;
  /**
   * All at once. No handler answers before every call was admitted or refused: the worst that can
   * happen, whatever the machine is busy with.
   */
  atOnce(calls: readonly Call[]): Promise<Seen[]>;
  /** One after the other, each when the charge of the one before is settled. */
  inTurn(calls: readonly Call[]): Promise<Seen[]>;
  /** So many a second, whatever becomes of those before. */
  spread(calls: readonly Call[], perSecond: number): Promise<Seen[]>;
  /** As quickly as some sockets can. */
  flood(calls: readonly Call[]): Promise<Seen[]>;
  /** What holders owed whose balance was not known, at the most, whenever a handler ran. */
  mostOwed(): number;
  /** Waits until nothing is owed any more. */
  settle(): Promise<void>;
  row(
    scenario: string,
    seen: readonly Seen[],
    boundsOf: (taken: Taken) => readonly Bound[],
  ): Promise<Row>;
}

const floodSockets = 100;
const longestMs = 30_000;

/** Opens a world, and closes it whatever happens in it. */
export async function inWorld<Value>(
  { price, route = price, guard = {}, abortGraceMs = 5_000, ...setting }: Setting,
  happen: (world: World) => Promise<Value>,
): Promise<Value> {
  const ledger = await createLedger(setting.ledger);
  const baseUrl = setting.between?.(ledger.baseUrl) ?? ledger.baseUrl;
  const meter = creditMeter({
    apiKey: ledger.key,
    environment: { name: "attacked", baseUrl },
    plans: [plan],
    routes: { "POST /call": route },
    guard,
    abortGraceMs,
    backoff: { baseMs: 1, maxMs: 5 },
    journal: "memory",
    inline: true,
    logger: quietLogger,
  });
  const ran = new Set<number>();
  let mostOwed = 0;
  const gate = createGate();
  const answer = setting.answer ?? ((_req, res) => void res.json({ answer: 42 }));
  const app = express();
  app.use(meter);
  app.post("/call", async (req, res) => {
    ran.add(Number(req.get(numberHeader)));
    mostOwed = Math.max(mostOwed, meter.health().exposure);
    await gate.pass();
    answer(req, res);
  });
  const server = http.createServer(app).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const crowd = createCrowd(gate.decided);

  async function settle() {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      const error = new Error(`Charges were not settled within ${longestMs} ms.`);
      timer = setTimeout(reject, longestMs, error);
    });
    await Promise.race([meter.flush(), late]).finally(() => clearTimeout(timer));
  }

  try {
    return await happen({
      ledger,
      meter,
      port,
      mint: (holderAddress, amount) => void ledger.mint({ planId: plan, holderAddress, amount }),
      atOnce(calls) {
        gate.hold(calls.length);
        return crowd.send(port, calls);
      },
      async inTurn(calls) {
        const seen: Seen[] = [];
        for (const call of calls) {
          seen.push(...(await crowd.send(port, [call])));
          await settle();
        }
        return seen;
      },
      async spread(calls, perSecond) {
        const began = performance.now();
        const sent: Promise<Seen[]>[] = [];
        while (sent.length < calls.length) {
          const due = Math.ceil(((performance.now() - began) / 1_000) * perSecond);
          for (const call of calls.slice(sent.length, due)) sent.push(crowd.send(port, [call]));
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
        return (await Promise.all(sent)).flat();
      },
      flood: (calls) => crowd.send(port, calls, floodSockets),
      mostOwed: () => mostOwed,
      settle,
      async row(scenario, seen, boundsOf) {
        await settle();
        return rowOf(scenario, { seen, ran, burns: ledger.burns(), price }, boundsOf);
      },
    });
  } finally {
    crowd.close();
    server.close();
    server.closeAllConnections();
    await meter.close({ deadlineMs: 0 });
    await ledger.close();
  }
}

/** Where handlers wait until so many requests were decided about. */
function createGate() {
  let undecided = 0;
  let open = () => {};
  let opened = Promise.resolve();

  function decided() {
    undecided -= 1;
    if (undecided <= 0) open();
  }

  return {
    hold(requests: number) {
      undecided = requests;
      opened = new Promise((resolve) => {
        open = resolve;
      });
    },
    decided,
    pass() {
      decided();
      return opened;
    },
  };
}
