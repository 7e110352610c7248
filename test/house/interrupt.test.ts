/** Ctrl-C in the midst of an example or a bench leaves nothing behind. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readdirSync, rmSync, watch } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { expect, onTestFinished, test } from "vitest";

const root = path.resolve(import.meta.dirname, "../..");

/**
 * @param at a line that it prints, after which it is interrupted; undefined: as soon as it has made a folder
 * @returns what is left in its temporary folder, and what it printed
 */
async function interrupted(file: string, args: string[], at: RegExp | undefined) {
  const temporary = mkdtempSync(path.join(tmpdir(), "interrupt-"));
  onTestFinished(() => rmSync(temporary, { recursive: true, force: true }));
  // PostgreSQL runs as somebody else, where this runs as root.
  chmodSync(temporary, 0o755);
  const child = spawn(
    process.execPath,
    ["--import", import.meta.resolve("tsx"), path.join(root, file), ...args],
    {
      cwd: root,
      // A group of its own, as a shell gives it: Ctrl-C reaches all of it.
      detached: true,
      env: {
        ...process.env,
        TMPDIR: temporary,
        TSX_TSCONFIG_PATH: path.join(root, "tsconfig.build.json"),
        DATABASE_URL: process.env.TEST_DATABASE_URL ?? "",
      },
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  const group = -(child.pid ?? 0);
  onTestFinished(() => {
    if (child.exitCode === null && child.signalCode === null) process.kill(group, "SIGKILL");
  });
  const closed = once(child, "close");
  let printed = "";
  await new Promise<void>((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => {
        printed += `${line}\n`;
        if (at?.test(line)) resolve();
      });
    }
    const watcher = watch(temporary, (_event, name) => {
      if (at === undefined && name !== null && isOurs(name)) resolve();
    });
    onTestFinished(() => watcher.close());
    closed.then(() => reject(new Error(`It ended too early:\n${printed}`)), reject);
  });
  process.kill(group, "SIGINT");
  const [code, signal] = await closed;
  return { left: readdirSync(temporary).filter(isOurs), code, signal, printed };
}

/** What compiles the examples keeps a cache there, too. */
const isOurs = (name: string) => !name.startsWith("tsx-");

test.each<[string, string[], RegExp | undefined]>([
  ["examples/fleet/main.ts", ["--seconds", "30"], /^Processes:/],
  ["examples/fleet/main.ts", ["--seconds", "30"], /^ +2 s: /],
  ["bench/torture/main.ts", ["--kills", "50"], undefined],
  ["bench/attack/main.ts", ["--scenario", "restart"], undefined],
  ["bench/admission/main.ts", [], undefined],
  ["bench/journal/main.ts", ["--records", "1000"], undefined],
  ["bench/stream/main.ts", [], undefined],
  ["bench/x402/main.ts", [], undefined],
])("%s %j", { timeout: 60_000 }, async (file, args, at) => {
  const { left, code, printed } = await interrupted(file, args, at);
  expect(printed).not.toMatch(/^ {4}at /m);
  expect(left).toEqual([]);
  expect(code).toBe(130);
});
