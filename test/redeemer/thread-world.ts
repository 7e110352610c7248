/** What the tests of the thread hand over, and the package built as it is shipped: the thread runs that. */

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import type { EngineSettings } from "../../src/engine.ts";
import type { Submission } from "../../src/redeemer/door.ts";

export const plan = "105906633592154016712415751065229075315413571";
export const holder = `0x${"Ab".repeat(20)}`;
export const key = "nvm:the-sellers-secret-key";

export function submissionsOf(ids: readonly string[]): Submission[] {
  return ids.map((redemptionId) => ({
    redemptionId,
    status: "pending",
    planId: plan,
    holderAddress: holder,
    proof: "0xproof",
    route: "POST /",
    environment: "test",
    amount: 1,
    hold: 0,
    usage: null,
    error: null,
    repeatable: true,
    expiresAt: null,
    admittedAt: Date.now(),
  }));
}

export function settingsOf(journal: string, baseUrl: string): EngineSettings {
  return {
    journal,
    baseUrl,
    redeemPath: "/protocol/plans/redeem",
    apiKey: key,
    timeoutMs: 10_000,
    concurrency: 4,
    perHolder: 4,
    maxQuestions: 8,
    protocol: "plans",
    backoff: { baseMs: 1, maxMs: 20 },
    circuitThreshold: 5,
    idempotentMs: null,
    retentionMs: 86_400_000,
  };
}

/** Compiles `src` into a folder of its own, from where the packages are found. About a second. */
export function build(): { built: URL; remove: () => void } {
  const root = path.resolve(import.meta.dirname, "../..");
  const cache = path.join(root, "node_modules/.cache");
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(path.join(cache, "express-credit-meter-"));
  const tsc = path.join(root, "node_modules/typescript/bin/tsc");
  const options = ["-p", "tsconfig.build.json", "--declaration", "false", "--outDir", folder];
  execFileSync(process.execPath, [tsc, ...options], { cwd: root, stdio: "pipe" });
  return {
    built: pathToFileURL(`${folder}/`),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
