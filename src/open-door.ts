/** Opens the door to the engine: in a worker thread, or in this one. */

import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { createEngine, type EngineSettings } from "./engine.ts";
import { findPlace } from "./journal/place.ts";
import { checkPostgres } from "./journal/postgres.ts";
import { checkSqliteJournal } from "./journal/sqlite.ts";
import { maxVerifications } from "./middleware/x402/x402.ts";
import type { Settings } from "./options.ts";
import { atExit } from "./redeemer/at-exit.ts";
import type { Door, Outcome } from "./redeemer/door.ts";
import { harmless } from "./redeemer/harmless.ts";
import { openThread } from "./redeemer/thread.ts";
import type { Report } from "./report.ts";

/** The worker's file lies beside this one. */
const workerFile = new URL(
  path.extname(fileURLToPath(import.meta.url)) === ".ts" ? "./worker-dev.mjs" : "./worker.js",
  import.meta.url,
);

const dayMs = 86_400_000;

/** @param worker replaced in tests */
export function openDoor(
  settings: Settings,
  report: Report,
  tell: (outcome: Outcome) => void,
  worker: URL = workerFile,
): Door {
  const engine: EngineSettings = {
    ...settings.environment,
    journal: locate(settings.journal, report),
    apiKey: settings.apiKey,
    timeoutMs: settings.timeoutMs,
    concurrency: settings.concurrency,
    perHolder: settings.perHolder,
    protocol: settings.x402 ? "x402" : "plans",
    maxQuestions: settings.guard.maxQuestions + (settings.x402 ? maxVerifications : 0),
    backoff: settings.backoff,
    circuitThreshold: settings.circuit,
    idempotentMs: settings.idempotentMs,
    retentionMs: settings.retentionDays * dayMs,
  };
  const bundled = !existsSync(worker);
  if (!settings.inline && !bundled) {
    return openThread({
      file: worker,
      settings: engine,
      tell,
      exitWaitMs: settings.exitWaitMs,
      onDeath: harmless(report.threadDied),
    });
  }
  if (!settings.inline) report.noWorkerFile(fileURLToPath(worker));
  const redeemer = createEngine(engine, { owner: randomUUID() }, tell);
  const takeOff = atExit(redeemer.drainNow);
  return {
    submit: redeemer.submit,
    async ask(name, question) {
      const answer = await redeemer.ask(name, question);
      if (name === "stop") takeOff();
      return answer;
    },
  };
}

function locate(journal: Settings["journal"], report: Report): EngineSettings["journal"] {
  if (typeof journal !== "string") {
    checkPostgres();
    report.journalInPostgres(journal.schema);
    return journal;
  }
  if (journal === "memory") {
    checkSqliteJournal(":memory:");
    return ":memory:";
  }
  const { file, warning } = findPlace(journal);
  checkSqliteJournal(file);
  report.journalAt(file, warning);
  return file;
}
