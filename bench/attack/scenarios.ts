/** All attacks, by name. */

import type { Row } from "./row.ts";
import type { Scale } from "./scale.ts";
import { runAcquaintances } from "./scenarios/acquaintances.ts";
import { runBurst, runLowHold } from "./scenarios/burst.ts";
import { runCrowdedOut } from "./scenarios/crowded-out.ts";
import { runDrained } from "./scenarios/drained.ts";
import { runForgery } from "./scenarios/forgery.ts";
import { runHangUps } from "./scenarios/hang-ups.ts";
import { runQuestions } from "./scenarios/questions.ts";
import { runReplay } from "./scenarios/replay.ts";
import { runRestart } from "./scenarios/restart.ts";
import { runStrangers } from "./scenarios/strangers.ts";

export const scenarios: Readonly<Record<string, (scale: Scale) => Promise<Row[]>>> = {
  burst: runBurst,
  "low-hold": runLowHold,
  strangers: runStrangers,
  acquaintances: runAcquaintances,
  replay: runReplay,
  "hang-ups": runHangUps,
  drained: runDrained,
  restart: runRestart,
  questions: runQuestions,
  "crowded-out": runCrowdedOut,
  forgery: runForgery,
};
