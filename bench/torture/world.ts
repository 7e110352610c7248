/** One run's world: a ledger, a journal, the servers on it and their clients. */

import { readFile } from "node:fs/promises";
import { createServer } from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { FaultRates } from "../../src/ledger/index.ts";
import { temporaryFolder } from "../../test/support/folder.ts";
import type { TestPostgres } from "../../test/support/postgres.ts";
import { type Child, startChild } from "./child.ts";
import { monotonicMs } from "./clock.ts";
import { type Comparison, compare, type Death } from "./compare.ts";
import { compile } from "./compile.ts";
import { type InPostgres, inFile, inPostgres } from "./journal-place.ts";
import type { JournalView } from "./journal-view.ts";
import {
  faultsOf,
  type LedgerMode,
  openTortureLedger,
  type Protocol,
  type TortureLedger,
} from "./ledger.ts";
import type {
  FromLoad,
  FromServer,
  LoadSettings,
  RequestSeen,
  ServerSettings,
  ToLoad,
  ToServer,
} from "./messages.ts";

export interface WorldOptions {
  readonly protocol: Protocol;
  readonly ledger: LedgerMode;
  /** What the meter believes of the ledger; only a self-check makes it believe what is not so. */
  readonly believes?: LedgerMode | undefined;
  readonly durability: "response" | "strict";
  readonly rate: number;
  readonly processes: number;
  readonly seed: number;
  /** Where the journal lies. Default: a temporary folder. */
  readonly folder?: string | undefined;
  /** The journal is there, in a schema of its own, and not in a file. */
  readonly postgres?: TestPostgres | undefined;
  readonly server?: Partial<ServerSettings> | undefined;
  /** Faults in place of the usual mix. */
  readonly faults?: FaultRates | undefined;
  /** How old, in ms, a lost record may be at its kill; see `verdict.ts`. Default: 1,000. */
  readonly oldestLostMs?: number | undefined;
  /** Responses between two events, as a share of the usual. Default: 1. */
  readonly scale?: number | undefined;
  /** Loads the clock that can be set. */
  readonly settableClock?: boolean | undefined;
  readonly report: (line: string) => void;
}

export interface Server extends Child<ToServer, FromServer> {
  readonly life: number;
  /** Resolves when it listens; false where it ended before. */
  readonly ready: Promise<boolean>;
  /** Monotonic. */
  readonly startedAt: number;
}

export interface World {
  readonly options: WorldOptions;
  readonly ledger: TortureLedger;
  readonly journal: JournalView;
  /** Where the journal is in PostgreSQL. */
  readonly postgres: InPostgres | undefined;
  readonly deaths: readonly Death[];
  readonly concurrency: number;
  /** Starts the server of a place, 0 upwards. */
  start(place: number, clockMs?: number): Server;
  /** Ends a server by force, looks into its journal, and remembers what was there. */
  end(server: Server, how: Death["how"]): Promise<Death>;
  load(on: boolean): void;
  /** Responses that clients received whole so far. */
  whole(): number;
  /**
   * Waits until clients have received so many more: what a run does must not depend on how quick
   * the machine is. Gives up after the time.
   */
  served(more: number, withinMs?: number): Promise<void>;
  faults(on: boolean): void;
  /** Ends load and faults, waits until nothing waits to be sent, and compares. */
  settle(withinMs: number): Promise<Settled>;
  close(): Promise<void>;
}

export interface Settled {
  readonly comparison: Comparison;
  /** Records that still waited, or were on the wire, when the time was over. */
  readonly waiting: number;
  /** Servers that wait for an outcome although nothing waits in the journal. */
  readonly unflushed: number;
  /** Redemptions that servers waited for in vain, with what they and the journal knew of them. */
  readonly unheard: readonly string[];
  readonly settledAfterMs: number;
  /**
   * How many charges the ledger and its connections can have left open: answers that say nothing,
   * 200s that nobody could read, and connections that broke.
   */
  readonly leftOpen: number;
  /** Warnings of Node from servers: what leaks listeners leaks memory. */
  readonly warnings: readonly string[];
}

const hourMs = 3_600_000;

/**
 * Milliseconds in which a server hears of what its journal knows: it looks every second. With PostgreSQL a
 * statement that gets no answer is given up after 30 seconds, and then it looks again.
 */
const flushMs = 10_000;
const fleetFlushMs = 60_000;

const words = { exit: "exit", exception: "throw", worker: "end-worker" } as const;

export async function openWorld(options: WorldOptions): Promise<World> {
  const code = await compile();
  const temporary = temporaryFolder("express-credit-meter-torture-");
  const { protocol, seed, ledger: mode, believes = mode } = options;
  const ledger = await openTortureLedger({ mode, protocol, believes, seed });
  const place = options.postgres
    ? inPostgres(options.postgres)
    : inFile(path.join(options.folder ?? temporary.path, "journal.db"), code);
  const journal = place.view;
  const ports = await freePorts(options.processes);
  const running = new Set<Server>();
  const deaths: Death[] = [];
  const common: Omit<ServerSettings, "port" | "life"> = {
    baseUrl: ledger.ledger.baseUrl,
    apiKey: ledger.ledger.key,
    plan: ledger.plan,
    protocol,
    journal: place.setting,
    durability: options.durability,
    // With x402 the meter believes what verify says: an id, or none.
    idempotentMs: protocol === "plans" && believes === "honour" ? hourMs : null,
    concurrency: 16,
    perHolder: 4,
    circuit: 5,
    timeoutMs: 1_500,
    backoff: { baseMs: 5, maxMs: 200 },
    exitWaitMs: 2_000,
    ...options.server,
  };
  const requestsFile = path.join(temporary.path, "requests.jsonl");
  const loadSettings: LoadSettings = {
    ports,
    rate: options.rate,
    seed: options.seed,
    plan: ledger.plan,
    holders: ledger.holders,
    tokens: ledger.tokens,
    file: requestsFile,
  };
  let load: Child<ToLoad, FromLoad> | undefined;
  let whole = 0;
  let life = 0;
  let closed = false;

  /** What the children complain of, each once. */
  const complaints = new Set<string>();
  function onLine(line: string) {
    const words = line.replace(/^\(node:\d+\) |^server \d+: /, "");
    if (complaints.has(words) || /^\s|^[{}]|Use `node --trace/.test(line)) return;
    complaints.add(words);
    options.report(line.slice(0, 200));
  }

  async function follow(child: Child<ToLoad, FromLoad>) {
    for (;;) {
      const said = await child.next("progress", hourMs).catch(() => undefined);
      if (!said) return;
      whole = said.whole;
    }
  }

  async function untilNothingWaits(deadline: number): Promise<number> {
    for (;;) {
      const { pending = 0, sending = 0, prepared = 0 } = await journal.states();
      const waiting = pending + sending + prepared;
      if (waiting === 0 || monotonicMs() > deadline) return waiting;
      await sleep(100);
    }
  }

  function isFlushed(server: Server): Promise<boolean> {
    server.send({ kind: "flush" });
    const withinMs = options.processes > 1 ? fleetFlushMs : flushMs;
    return server.next("flushed", withinMs).then(
      () => true,
      () => false,
    );
  }

  async function settle(withinMs: number): Promise<Settled> {
    const began = monotonicMs();
    const done = load?.next("done", 30_000);
    load?.send({ kind: "stop" });
    await done;
    ledger.ledger.setFaults({});
    await ledger.ledger.comeBack();
    await untilNothingWaits(began + withinMs);
    // What a server holds that has not reached the journal yet, and what it has not heard of.
    const flushed = await Promise.all([...running].map(isFlushed));
    const waiting = await untilNothingWaits(began + withinMs);
    const settledAfterMs = monotonicMs() - began;
    const unheard: string[] = [];
    for (const server of running) {
      // Not awaited: a server that cannot close is seen by its end.
      server.next("closed", 20_000).then(
        ({ left }) => unheard.push(...left.map((known) => `${server.life}: ${known}`)),
        () => {},
      );
      server.send({ kind: "close" });
    }
    const ends = Promise.all([...running].map((server) => server.ended));
    await Promise.race([ends, sleep(20_000, undefined, { ref: false })]);
    const text = await readFile(requestsFile, "utf8").catch(() => "");
    const requests = text.split("\n").filter(Boolean);
    const records = await journal.records();
    const statusOf = new Map(records.map(({ redemptionId, status }) => [redemptionId, status]));
    const comparison = compare({
      requests: requests.map((line) => JSON.parse(line) as RequestSeen),
      records,
      burns: ledger.burns(),
      deaths,
    });
    return {
      comparison,
      waiting,
      unflushed: flushed.filter((done) => !done).length,
      unheard: unheard.map((known) => {
        const [, id = ""] = known.split(" ");
        return `${known} there, ${statusOf.get(id) ?? "nothing"} in the journal`;
      }),
      settledAfterMs,
      warnings: [...complaints].filter((line) => /Warning:/.test(line)),
      leftOpen:
        ledger.ambiguous() +
        ledger.connections() +
        Math.max(0, ledger.answered() - (comparison.settled.completed ?? 0)),
    };
  }

  return {
    options,
    ledger,
    journal,
    postgres: place.postgres,
    deaths,
    concurrency: common.concurrency,

    start(place, clockMs = 0) {
      life += 1;
      const settings: ServerSettings = { ...common, port: ports[place] ?? 0, life };
      const child = startChild<ToServer, FromServer>(path.join(code, "server.js"), settings, {
        env: { TORTURE_CLOCK_MS: String(clockMs) },
        ...(options.settableClock && { preload: path.join(code, "wall-clock.js") }),
        onLine,
      });
      const ready = child.next("ready").then(
        () => true,
        () => false,
      );
      const server = { ...child, life, ready, startedAt: monotonicMs() };
      running.add(server);
      void child.ended.then(() => running.delete(server));
      return server;
    },

    async end(server, how) {
      const at = monotonicMs();
      if (how === "kill") server.kill();
      else server.send({ kind: words[how] });
      // Whoever ends the worker is still there, and starts another one 50 ms later at the earliest.
      if (how === "worker") await server.next("worker-ended");
      else await server.ended;
      if (how !== "worker") running.delete(server);
      const death: Death = {
        life: how === "worker" ? 0 : server.life,
        livedMs: at - server.startedAt,
        // What ends itself was not told to at the moment at which it was sent word.
        at: how === "kill" ? at : monotonicMs(),
        how,
        ...(await journal.look(server.pid, running.size === 0)),
      };
      // The new worker may have been quicker: what it took over was on the wire, too.
      const before = new Set(deaths.flatMap(({ sending }) => sending));
      const gone = how === "worker" ? await journal.takenOver() : [];
      const taken = gone.filter((id) => !before.has(id));
      const seen = { ...death, sending: [...new Set([...death.sending, ...taken])] };
      deaths.push(seen);
      return seen;
    },

    load(on) {
      if (!load && on) {
        load = startChild<ToLoad, FromLoad>(path.join(code, "load.js"), loadSettings, { onLine });
        void follow(load);
      } else load?.send({ kind: "pause", on: !on });
    },
    whole: () => whole,
    async served(more, withinMs = 20_000) {
      const began = monotonicMs();
      const enough = whole + more * (options.scale ?? 1);
      while (whole < enough && monotonicMs() - began < withinMs) await sleep(5);
    },
    faults: (on) => ledger.ledger.setFaults(on ? (options.faults ?? faultsOf(options.ledger)) : {}),
    settle,

    async close() {
      if (closed) return;
      closed = true;
      for (const server of running) server.kill();
      load?.kill();
      await Promise.all([...running].map((server) => server.ended));
      await load?.ended;
      await place.close();
      await ledger.close();
      temporary.remove();
    },
  };
}

/** Ports that nobody listens on now: a server that is started again must have its old one. */
async function freePorts(count: number): Promise<number[]> {
  const held = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<{ port: number; release: () => Promise<void> }>((resolve, reject) => {
          const server = createServer();
          server.once("error", reject);
          server.listen(0, "127.0.0.1", () => {
            const { port } = server.address() as { port: number };
            resolve({ port, release: () => new Promise((done) => server.close(() => done())) });
          });
        }),
    ),
  );
  for (const { release } of held) await release();
  return held.map(({ port }) => port);
}
