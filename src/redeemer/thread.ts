/**
 * The near side of the worker thread: hands submissions over, starts the thread again if it dies and
 * hands over again what it had not acknowledged, and holds the process's exit until what was
 * submitted is durable.
 */

import { randomUUID } from "node:crypto";
import { clearTimeout, setImmediate, setTimeout } from "node:timers";
import { Worker } from "node:worker_threads";
import { elapsed } from "../clock.ts";
import { atExit } from "./at-exit.ts";
import type { Door, Health, Outcome, QuestionName, Questions, Submission } from "./door.ts";
import { messageOf } from "./health.ts";
import type { FromWorker, ToWorker, WorkerData } from "./thread-messages.ts";
import { noTotals } from "./totals.ts";

export interface ThreadOptions {
  /** The worker's file. */
  readonly file: URL;
  /** Plain data for the worker. */
  readonly settings: unknown;
  /** Must not throw. */
  readonly tell: (outcome: Outcome) => void;
  /** Milliseconds that the process's exit waits for acknowledgement, at the most. */
  readonly exitWaitMs: number;
  /** Tells that the thread died and is started again. Must not throw. */
  readonly onDeath: (error: Error | undefined) => void;
}

/** Milliseconds before a thread that died is started again, doubled while it keeps dying. */
const restartMs = { first: 50, longest: 5_000 };
/** Threads that may die over what is unacknowledged after `stop` was asked. */
const lastDeaths = 3;

interface Question {
  readonly name: QuestionName;
  readonly question: unknown;
  readonly resolve: (value: never) => void;
  readonly reject: (error: Error) => void;
}

export function openThread(options: ThreadOptions): Door {
  /** Handed over and not acknowledged, oldest first; one redemption may be here twice (strict). */
  const unaccepted = new Map<string, Submission[]>();
  const questions = new Map<number, Question>();
  /** Of `unaccepted`: what goes with the next message. */
  let outgoing: Submission[] = [];
  let nextQuestion = 1;
  /** Threads that died, and whose work no other has taken over yet. */
  let dead: string[] = [];
  /** In a row, without one acknowledgement. */
  let deaths = 0;
  /** Whether a thread has told anything since one died. */
  let spoke = true;
  let deathsLeft = Number.POSITIVE_INFINITY;
  /** Set while there is no thread. */
  let restart: NodeJS.Timeout | undefined;
  let health: Health = {
    writable: true,
    problem: null,
    totals: noTotals,
    paused: null,
    fault: null,
  };
  let stopped = false;
  let current = start();

  function start() {
    const owner = randomUUID();
    const accepted = new Int32Array(new SharedArrayBuffer(4));
    const data: WorkerData = {
      settings: options.settings,
      identity: { owner, replaces: dead },
      accepted,
    };
    const worker = new Worker(options.file, {
      workerData: data,
      name: "express-credit-meter",
      ...ofThisProgram(process.execArgv),
    });
    const started = { owner, accepted, worker, posted: 0 };
    let failure: Error | undefined;
    worker.unref();
    worker.on("message", (message: FromWorker) => {
      if (started === current) receive(message);
    });
    worker.on("error", (error) => {
      failure = error;
    });
    worker.on("exit", () => {
      if (started === current && !stopped) died(failure);
    });
    return started;
  }

  function died(error: Error | undefined) {
    dead = [...dead, current.owner];
    deaths += 1;
    deathsLeft -= 1;
    if (deathsLeft <= 0 || (unaccepted.size === 0 && isStopAsked())) return finish();
    const wait = Math.min(restartMs.first * 2 ** (deaths - 1), restartMs.longest);
    restart = setTimeout(startAgain, wait);
    holdOrLetGo();
    // One that dies again without a word is told by health, once for all its deaths.
    if (spoke) options.onDeath(error);
    spoke = false;
    // Once may be an accident, and what is submitted meanwhile waits here.
    if (deaths > 1) tellThatItDies(error);
  }

  function tellThatItDies(error: Error | undefined) {
    const why = error ? `: ${messageOf(error)}` : "";
    const problem = `The thread that writes the journal ends again and again${why}`;
    health = { ...health, writable: false, problem };
    options.tell({ kind: "health", health });
    // Whoever asked is not left to wait; what ends with the meter is.
    for (const [id, { name, reject }] of questions) {
      if (name === "stop") continue;
      questions.delete(id);
      reject(new Error(problem));
    }
  }

  function startAgain() {
    clearTimeout(restart);
    restart = undefined;
    current = start();
    outgoing = [...unaccepted.values()].flat();
    flush();
    for (const [id, { name, question }] of questions) {
      post({ kind: "ask", id, name, question: question as never });
    }
    holdOrLetGo();
  }

  function receive(message: FromWorker) {
    spoke = true;
    if (message.kind === "answer") {
      const asked = questions.get(message.id);
      questions.delete(message.id);
      if ("error" in message) asked?.reject(new Error(message.error));
      else asked?.resolve(message.value as never);
      if (asked?.name === "stop") finish();
    } else {
      for (const outcome of message.outcomes) learn(outcome);
    }
    holdOrLetGo();
  }

  function learn(outcome: Outcome) {
    if (outcome.kind === "health") health = outcome.health;
    if (outcome.kind === "recovered") dead = [];
    if (outcome.kind === "accepted") {
      deaths = 0;
      for (const id of outcome.redemptionIds) {
        const [, ...rest] = unaccepted.get(id) ?? [];
        if (rest.length > 0) unaccepted.set(id, rest);
        else unaccepted.delete(id);
      }
    }
    options.tell(outcome);
  }

  /** What comes while there is no thread is posted to the next one. */
  function post(message: ToWorker) {
    if (restart) return;
    if (message.kind === "submit") current.posted += message.submissions.length;
    current.worker.postMessage(message);
  }

  function flush() {
    if (outgoing.length === 0) return;
    const submissions = outgoing;
    outgoing = [];
    post({ kind: "submit", submissions });
  }

  /** The thread keeps the process alive only while something is unacknowledged. */
  function holdOrLetGo() {
    const holder = restart ?? current.worker;
    if (!stopped && (unaccepted.size > 0 || questions.size > 0)) holder.ref();
    else holder.unref();
  }

  function isStopAsked() {
    return [...questions.values()].some(({ name }) => name === "stop");
  }

  /** The last answer has come, or none will. What is unacknowledged stays with whoever submitted it. */
  function finish() {
    stopped = true;
    takeOff();
    for (const { name, resolve, reject } of questions.values()) {
      if (name === "stop") resolve(undefined as never);
      else reject(closedError());
    }
    questions.clear();
    void current.worker.terminate();
  }

  /** The event loop has ended: nothing but waiting for shared memory works now. */
  function onExit() {
    if (unaccepted.size === 0) return;
    if (restart) startAgain();
    flush();
    const deadline = elapsed() + options.exitWaitMs;
    for (;;) {
      const count = Atomics.load(current.accepted, 0);
      const left = deadline - elapsed();
      if (count >= current.posted || left <= 0) return;
      Atomics.wait(current.accepted, 0, count, left);
    }
  }
  const takeOff = atExit(onExit);

  return {
    submit(submissions) {
      if (stopped) return;
      for (const submission of submissions) {
        const before = unaccepted.get(submission.redemptionId) ?? [];
        unaccepted.set(submission.redemptionId, [...before, submission]);
      }
      if (outgoing.length === 0) setImmediate(flush);
      outgoing.push(...submissions);
      holdOrLetGo();
    },

    ask<Name extends QuestionName>(name: Name, question: Questions[Name]["ask"]) {
      return new Promise<Questions[Name]["answer"]>((resolve, reject) => {
        if (stopped) return reject(closedError());
        flush();
        const id = nextQuestion;
        nextQuestion += 1;
        questions.set(id, { name, question, resolve, reject });
        if (name === "stop") deathsLeft = Math.min(deathsLeft, lastDeaths);
        post({ kind: "ask", id, name, question: question as never });
        holdOrLetGo();
      });
    },
  };
}

/** Flags that say where the program comes from: a file is refused under them, and a thread's is a file. */
const programFlags = /^(--input-type|--eval|-e|--print|-p|-pe)(=|$)/;

/** What a thread inherits of the flags of Node; nothing said: all of them. */
function ofThisProgram(flags: readonly string[]): { execArgv?: string[] } {
  if (!flags.some((flag) => programFlags.test(flag))) return {};
  const kept: string[] = [];
  for (const [index, flag] of flags.entries()) {
    // What is preloaded there (a tracer, a compiler) is preloaded here, too. V8's flags hold for the process.
    if (/^(--import|--require|-r|--loader|--experimental-loader)$/.test(flag)) {
      kept.push(flag, flags[index + 1] ?? "");
    } else if (/^(--import|--require|--loader|--experimental-loader)=/.test(flag)) kept.push(flag);
  }
  return { execArgv: kept };
}

function closedError(): Error {
  return new Error("The meter is closed.");
}
