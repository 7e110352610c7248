/** One part of the benchmark, in a process of its own. Prints one line of JSON. */

import { randomUUID } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as sleep, setImmediate as tick } from "node:timers/promises";
import type { EngineSettings } from "../../dist/engine.js";
import type { Journal } from "../../dist/journal/journal.js";
import { openSqliteJournal } from "../../dist/journal/sqlite.js";
import type { Outcome } from "../../dist/redeemer/door.js";
import { openThread } from "../../dist/redeemer/thread.js";
import { entry, holders, submission } from "../charges.ts";

const [name, file, count] = process.argv.slice(2) as [string, string, string];
const holder = (index: number) => holders[index % holders.length] ?? "";
const worker = new URL("../../dist/worker.js", import.meta.url);

function settings(baseUrl: string): EngineSettings {
  return {
    journal: file,
    baseUrl,
    redeemPath: "/protocol/plans/redeem",
    apiKey: "nvm:bench",
    timeoutMs: 10_000,
    concurrency: 16,
    perHolder: 4,
    protocol: "plans",
    maxQuestions: 8,
    backoff: { baseMs: 1_000, maxMs: 30_000 },
    circuitThreshold: 1,
    idempotentMs: null,
    retentionMs: 86_400_000,
  };
}

function open(baseUrl: string, tell: (outcome: Outcome) => void) {
  const onDeath = (error?: Error) => {
    throw error ?? new Error("The thread ended.");
  };
  return openThread({ file: worker, settings: settings(baseUrl), tell, exitWaitMs: 0, onDeath });
}

const round = (value: number) => Math.round(value * 100) / 100;

function percentile(values: number[], share: number): number {
  values.sort((a, b) => a - b);
  return round(values[Math.min(values.length - 1, Math.floor(values.length * share))] ?? 0);
}

/** From the event loop that serves requests, through the thread, until it is durable. */
async function append() {
  const total = Number(count);
  let accepted = 0;
  let ready: () => void = () => {};
  const opened = new Promise<void>((resolve) => {
    ready = resolve;
  });
  const door = open("http://127.0.0.1:1", (outcome) => {
    if (outcome.kind === "recovered") ready();
    if (outcome.kind === "accepted") accepted += outcome.redemptionIds.length;
  });
  // Held until the end: the thread alone does not keep the process alive.
  const held = setInterval(() => {}, 1_000);
  await opened;
  const idle = monitorEventLoopDelay({ resolution: 1 });
  idle.enable();
  await sleep(1_000);
  idle.disable();
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const started = performance.now();
  let submitted = 0;
  while (accepted < total) {
    // As finished responses come: some in each turn of the loop, and no more than fit in memory.
    for (let some = 0; some < 8 && submitted < total && submitted - accepted < 4_096; some += 1) {
      door.submit([submission(holder(submitted))]);
      submitted += 1;
    }
    await tick();
  }
  const seconds = (performance.now() - started) / 1_000;
  delay.disable();
  await door.ask("stop", {});
  clearInterval(held);
  return {
    perSecond: Math.round(total / seconds),
    delayP99Ms: round(delay.percentile(99) / 1e6),
    idleP99Ms: round(idle.percentile(99) / 1e6),
  };
}

/** One record a commit, with the pause that the redeemer makes, for so many milliseconds. */
async function latency() {
  const journal = openSqliteJournal(file);
  const owner = randomUUID();
  const took: number[] = [];
  const end = performance.now() + Number(count);
  for (let index = 0; performance.now() < end; index += 1) {
    const before = performance.now();
    await journal.commit({ owner, now: Date.now(), append: [entry(holder(index))], settle: [] });
    took.push(performance.now() - before);
    await sleep(2);
  }
  await journal.close(owner);
  return { commits: took.length, p50: percentile(took, 0.5), p99: percentile(took, 0.99) };
}

async function fill() {
  const journal: Journal = openSqliteJournal(file);
  const owner = randomUUID();
  const total = Number(count);
  for (let index = 0; index < total; index += 1_000) {
    const append = Array.from({ length: Math.min(1_000, total - index) }, (_, at) =>
      entry(holder(index + at)),
    );
    await journal.commit({ owner, now: Date.now(), append, settle: [] });
  }
  await journal.close(owner);
  return { records: total };
}

/** From the start of the thread until the first charge of the backlog reaches the ledger. */
async function recover() {
  const ledger = http.createServer((_req, res) => void res.end("{}"));
  ledger.listen(0, "127.0.0.1");
  await once(ledger, "listening");
  const requested = once(ledger, "request");
  const { port } = ledger.address() as AddressInfo;
  const started = performance.now();
  let recovered: () => void = () => {};
  const opened = new Promise<void>((resolve) => {
    recovered = resolve;
  });
  let most = 0;
  const door = open(`http://127.0.0.1:${port}`, (outcome) => {
    if (outcome.kind === "recovered") {
      if (outcome.pending === 0) void requested.then(() => {});
      recovered();
    }
  });
  const measure = setInterval(() => {
    most = Math.max(most, process.memoryUsage().rss);
  }, 10);
  await opened;
  const health = await door.ask("totals", {});
  if (health.pending > 0) await requested;
  const firstSentMs = Math.round(performance.now() - started);
  // While the backlog is being sent, too.
  await sleep(3_000);
  clearInterval(measure);
  await door.ask("stop", {});
  ledger.close();
  ledger.closeAllConnections();
  return { firstSentMs, megabytes: round(most / 1e6) };
}

const parts: Record<string, () => Promise<object>> = { append, latency, fill, recover };
const part = parts[name];
if (!part) throw new Error(`There is no part ${name}.`);
console.log(JSON.stringify(await part()));
