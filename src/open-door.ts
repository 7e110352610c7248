/** Opens the door to the engine: in a worker thread, or in this one. */

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { createEngine, type EngineSettings } from "./engine.ts";
import { CreditMeterError } from "./errors.ts";
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

/**
 * The worker's file lies beside this one; in a bundle it does not, and a bundle that is no module does not even
 * know where it lies itself.
 */
function workerFile(): URL | undefined {
  const here: string | undefined = import.meta.url;
  if (here === undefined) return undefined;
  const isSource = path.extname(new URL(here).pathname) === ".ts";
  return new URL(isSource ? "./worker-dev.mjs" : "./worker.js", here);
}

/** Its first words; an application may have a file of the same name. */
const firstWords = "/** The worker thread of express-credit-meter:";

function isOurs(file: URL | undefined): file is URL {
  try {
    return file !== undefined && readFileSync(file, "utf8").startsWith(firstWords);
  } catch {
    return false;
  }
}

const dayMs = 86_400_000;

/** @param worker replaced in tests */
export function openDoor(
  settings: Settings,
  report: Report,
  tell: (outcome: Outcome) => void,
  worker: URL | undefined = workerFile(),
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
  if (!settings.inline && isOurs(worker)) {
    try {
      return openThread({
        file: worker,
        settings: engine,
        tell,
        exitWaitMs: settings.exitWaitMs,
        onDeath: harmless(report.threadDied),
      });
    } catch (error) {
      if ((error as { code?: unknown }).code !== "ERR_ACCESS_DENIED") throw error;
      throw new CreditMeterError(
        "journal-unusable",
        "Node's permission model forbids the thread that keeps the journal: start Node with --allow-worker, or set inline: true.",
        { cause: error },
      );
    }
  }
  if (!settings.inline) report.noWorkerFile(worker && fileURLToPath(worker));
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
