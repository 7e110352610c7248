/**
 * Compiles the package and this run to JavaScript for the child processes: a worker thread cannot be
 * started from TypeScript on Node 20, and a server that is killed every second must start quickly.
 */

import { execFile } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdir, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";

const root = path.resolve(import.meta.dirname, "../..");
/** Below `node_modules`, so that the compiled files find the package's dependencies. */
const cache = path.join(root, "node_modules/.cache/torture");

const dayMs = 86_400_000;

/** @returns the folder with the compiled files of `bench/torture`; compiled once for each state of the sources */
export async function compile(): Promise<string> {
  const folder = path.join(cache, hashOf(["src", "bench/torture", "tsconfig.json"]));
  if (!existsSync(folder)) {
    const making = `${folder}.${randomUUID()}`;
    await mkdir(making, { recursive: true });
    await writeFile(path.join(making, "package.json"), '{ "type": "module" }');
    const tsc = path.join(root, "node_modules/typescript/bin/tsc");
    const project = path.join(import.meta.dirname, "tsconfig.json");
    await promisify(execFile)(process.execPath, [tsc, "-p", project, "--outDir", making]).catch(
      (error: { stdout?: string }) => {
        throw new Error(`The sources do not compile:\n${error.stdout}`, { cause: error });
      },
    );
    await forgetOld();
    // Another run may have been quicker.
    await rename(making, folder).catch(() => rm(making, { recursive: true, force: true }));
  }
  return path.join(folder, "bench/torture");
}

/** A run that still goes on with older files has begun within the day. */
async function forgetOld() {
  for (const name of await readdir(cache)) {
    const folder = path.join(cache, name);
    // Another run may have renamed or removed it meanwhile.
    const found = await stat(folder).catch(() => undefined);
    if (found && Date.now() - found.mtimeMs > dayMs)
      await rm(folder, { recursive: true, force: true });
  }
}

function hashOf(places: readonly string[]): string {
  const hash = createHash("sha256");
  for (const place of places) {
    const files = place.endsWith(".json")
      ? [place]
      : readdirSync(path.join(root, place), { recursive: true, encoding: "utf8" })
          .filter((file) => file.endsWith(".ts") || file.endsWith(".json"))
          .map((file) => path.join(place, file));
    for (const file of files.sort()) {
      hash.update(`${file}\0`).update(readFileSync(path.join(root, file)));
    }
  }
  return hash.digest("hex").slice(0, 16);
}
