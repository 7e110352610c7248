/**
 * A process with a thread, for thread.test.ts: does what its standard input says, and prints what it is told,
 * one JSON line for each.
 */

import { readFileSync } from "node:fs";

const { plan, built, file, settings, submissions, exitWaitMs } = JSON.parse(readFileSync(0));
const { openThread } = await import(new URL("redeemer/thread.js", built));
const print = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

const door = openThread({
  file: new URL(file),
  settings,
  exitWaitMs,
  tell(outcome) {
    if (outcome.kind === "accepted") print({ accepted: outcome.redemptionIds.length });
    if (plan === "stop-when-failing" && outcome.kind === "health" && !outcome.health.writable) {
      door.ask("stop", {}).then(() => print("stopped"));
    }
  },
  onDeath(error) {
    print({ died: error?.message ?? null });
    if (plan !== "exit-without-thread") return;
    door.submit(submissions);
    process.exit(0);
  },
});

switch (plan) {
  case "idle":
    break;
  case "submit":
  case "stop-when-failing":
    door.submit(submissions);
    break;
  case "exit":
    door.submit(submissions);
    process.exit(0);
    break;
  case "throw":
    door.submit(submissions);
    throw new Error("of the application");
  case "exit-without-thread":
    setTimeout(() => {}, 60_000);
    break;
  default:
    throw new Error(`no plan ${plan}`);
}
