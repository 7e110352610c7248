/** Two processes on one journal, one after the other, and a ledger that outlives them. */

import { createRequire } from "node:module";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { GuardSettings } from "../../src/index.ts";
import { createLedger, type Ledger, type LedgerOptions } from "../../src/ledger/index.ts";
import { temporaryFolder } from "../../test/support/folder.ts";
import { startChild } from "../torture/child.ts";
import { type Call, createCrowd, type Seen } from "./crowd.ts";
import { type Row, rowOf } from "./row.ts";
import type { FromServer, ServerSettings, ServerState } from "./server.ts";

export interface LivesOptions {
  readonly price: number;
  readonly concurrency: number;
  readonly guard: GuardSettings;
  readonly ledger?: LedgerOptions;
}

const file = fileURLToPath(new URL("./server.ts", import.meta.url));
const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
const longestMs = 20_000;

export interface Lives {
  readonly ledger: Ledger;
  start(): Promise<void>;
  /** Sends the calls, all at once, and waits until the journal has all that was answered. */
  send(calls: readonly Call[]): Promise<readonly Seen[]>;
  /** Kills the process while these are under way: those that are admitted hang. */
  killWith(calls: readonly Call[]): Promise<void>;
  untilJournaled(isSo: (journal: ServerState["journal"]) => boolean): Promise<void>;
  row(scenario: string, boundsOf: (worth: number) => Row["bounds"]): Row;
}

/** Opens what both lives need, and ends whatever lives at the end. */
export async function twoLives(
  { ledger: options = {}, ...given }: LivesOptions,
  happen: (lives: Lives) => Promise<Row>,
): Promise<Row> {
  const ledger = await createLedger(options);
  const folder = temporaryFolder("express-credit-meter-attack-");
  const { baseUrl, key: apiKey } = ledger;
  const journal = path.join(folder.path, "journal.db");
  const settings: ServerSettings = { ...given, baseUrl, apiKey, journal };
  const seen: Seen[] = [];
  const ran = new Set<number>();
  let refused = 0;
  const crowd = createCrowd(() => {
    refused += 1;
  });
  let child: ReturnType<typeof startChild<never, FromServer>> | undefined;
  let port = 0;

  async function look(): Promise<ServerState> {
    const response = await fetch(`http://127.0.0.1:${port}/state`);
    const state = (await response.json()) as ServerState;
    for (const number of state.ran) ran.add(number);
    return state;
  }

  async function until(isSo: (state: ServerState) => boolean) {
    const deadline = performance.now() + longestMs;
    while (!isSo(await look())) {
      if (performance.now() > deadline) throw new Error(`Not within ${longestMs} ms.`);
      await sleep(10);
    }
  }

  try {
    return await happen({
      ledger,
      async start() {
        child = startChild<never, FromServer>(file, settings, { preload: tsx });
        port = (await child.next("ready")).port;
      },
      async send(calls) {
        const now = await crowd.send(port, calls);
        seen.push(...now);
        const answers = seen.filter(({ status }) => status === 200).length;
        const sum = (journal: ServerState["journal"]) =>
          Object.values(journal).reduce((total, count) => total + count, 0);
        await until((state) => sum(state.journal) >= answers);
        return now;
      },
      async killWith(calls) {
        const before = ran.size;
        refused = 0;
        const sent = crowd.send(port, calls);
        await until((state) => state.ran.length - before + refused >= calls.length);
        child?.kill();
        await child?.ended;
        seen.push(...(await sent));
      },
      untilJournaled: (isSo) => until((state) => isSo(state.journal)),
      row: (scenario, boundsOf) =>
        rowOf(scenario, { seen, ran, burns: ledger.burns(), price: given.price }, ({ worth }) =>
          boundsOf(worth),
        ),
    });
  } finally {
    crowd.close();
    child?.kill();
    await child?.ended;
    await ledger.close();
    folder.remove();
  }
}
