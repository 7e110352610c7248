/** A process of the fleet, as the example sees it. */

import { fork } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import type { FromServer, RecordSeen, ServerSettings, ToServer } from "./messages.ts";

export interface Member {
  readonly place: number;
  readonly pid: number;
  readonly port: number;
  /** Every redemption that the journal remembers. */
  records(): Promise<readonly RecordSeen[]>;
  /** As a power cut, or the kernel that runs out of memory. */
  kill(): Promise<void>;
  /** As a deployment. */
  close(): Promise<void>;
}

/** @param onLine told what it has to say */
export async function startMember(
  settings: ServerSettings,
  onLine: (line: string) => void,
): Promise<Member> {
  const { place } = settings;
  const child = fork(path.join(import.meta.dirname, "server.ts"), [JSON.stringify(settings)]);
  const ended = once(child, "exit");
  process.once("exit", () => child.kill("SIGKILL"));
  child.on("message", (message: FromServer) => {
    if (message.kind === "log") onLine(message.line);
  });

  function next<Kind extends FromServer["kind"]>(kind: Kind) {
    return new Promise<Extract<FromServer, { kind: Kind }>>((resolve, reject) => {
      const listener = (message: FromServer) => {
        if (message.kind !== kind) return;
        child.off("message", listener);
        resolve(message as Extract<FromServer, { kind: Kind }>);
      };
      child.on("message", listener);
      void ended.then(([code]) => reject(new Error(`Process ${place} ended with ${code}.`)));
    });
  }

  const { port } = await next("ready");
  return {
    place,
    pid: child.pid ?? 0,
    port,
    async records() {
      const answer = next("records");
      child.send({ kind: "list" } satisfies ToServer);
      return (await answer).records;
    },
    async kill() {
      child.kill("SIGKILL");
      await ended;
    },
    async close() {
      if (child.connected) child.send({ kind: "close" } satisfies ToServer);
      await ended;
    },
  };
}
