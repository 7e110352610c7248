/** A client that writes the bytes it is given, several requests at a time on one connection. */

import net from "node:net";
import { type Answer, takeAnswer } from "./answers.ts";
import type { HostileRequest } from "./requests.ts";

export interface Client {
  /** What became of each request, in their order. Never rejects. */
  send(batch: readonly HostileRequest[]): Promise<readonly (Answer | undefined)[]>;
  close(): void;
}

/** Milliseconds without an answer after which none is waited for. */
const patienceMs = 20_000;
/** The same, where Node may be waiting for more than will ever come. */
const shortPatienceMs = 1_000;
/** Milliseconds that a client which hangs up stays. */
const stayMs = 2;

export function createClient(port: number): Client {
  let kept: net.Socket | undefined;

  function open(): net.Socket {
    const socket = net.connect({ port, host: "127.0.0.1", noDelay: true });
    socket.setEncoding("latin1");
    // Connections are cut here on purpose; what is missing is seen by the missing answer.
    socket.on("error", () => {});
    return socket;
  }

  return {
    send: (batch) =>
      new Promise((resolve) => {
        const last = batch.at(-1);
        const socket = kept && !kept.destroyed && kept.writable ? kept : open();
        kept = socket;
        const answers: Answer[] = [];
        let text = "";
        const over = (isKept: boolean) => {
          clearTimeout(timer);
          socket.off("data", onData).off("close", onClose);
          if (!isKept) socket.destroy();
          resolve(batch.map((_, at) => answers[at]));
        };
        const onClose = () => over(false);
        const onData = (chunk: string) => {
          text += chunk;
          for (;;) {
            const taken = takeAnswer(text, batch[answers.length]?.method ?? "");
            if (!taken) return;
            answers.push(taken.answer);
            text = taken.rest;
            if (answers.length === batch.length) return over(last?.isLast !== true);
          }
        };
        const waitMs = last?.hangsUp ? stayMs : last?.mayLackAnswer ? shortPatienceMs : patienceMs;
        const timer = setTimeout(over, waitMs, false);
        socket.on("data", onData).on("close", onClose);
        socket.write(batch.map(({ bytes }) => bytes).join(""), "latin1");
      }),

    close() {
      kept?.destroy();
    },
  };
}
