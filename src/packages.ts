/**
 * Packages that are loaded when they are needed, and not with this one: SQLite's binding is machine code, and `pg`
 * is there only with a journal in PostgreSQL. No bundler sees them: both must lie where the program runs. What
 * cannot be loaded (nothing for this machine, addons that Node's permission model forbids) is told in a sentence.
 */

// Not by name: what people put in front of ESM bundles imports `createRequire` once more.
import nodeModule from "node:module";
import path from "node:path";
import type Database from "libsql";

type Binding = typeof Database;

let loaded: Binding | undefined;

/** @throws {Error} with a message that says what to do */
export function loadSqlite(): Binding {
  try {
    loaded ??= requireHere()("libsql") as Binding;
    return loaded;
  } catch (error) {
    throw new Error(`SQLite cannot be loaded: ${reasonOf(error)}`, { cause: error });
  }
}

/** In a bundle that is no module there is no `import.meta.url`; then packages are found from where the program was started. */
export function requireHere(): NodeJS.Require {
  const here: string | undefined = import.meta.url;
  return nodeModule.createRequire(here ?? path.join(process.cwd(), "bundle.js"));
}

function reasonOf(error: unknown): string {
  const { code, message } = error as { code?: string; message?: string };
  if (code === "ERR_DLOPEN_DISABLED") {
    return "Node runs without --allow-addons; its permission model needs that flag, --allow-worker, and the journal's folder in --allow-fs-read and --allow-fs-write";
  }
  if (code === "MODULE_NOT_FOUND") {
    return `${(message ?? "").split("\n", 1)[0]}; install the package "libsql" with its optional dependencies where the program runs (a bundler must leave it out)`;
  }
  return message ?? "no reason was told";
}
