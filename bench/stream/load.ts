/**
 * Clients that read streams and throw them away. Plain sockets: an HTTP client would cost more than
 * the server that is measured.
 */

import { once } from "node:events";
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export interface Load {
  readonly port: number;
  /** With the query. */
  readonly path: string;
  /** Headers of each connection's requests; there are as many connections. */
  readonly headers: readonly Readonly<Record<string, string>>[];
  /** Streams that each connection reads, one after the other. */
  readonly streams: number;
  /** Milliseconds from the first connection's first request to the last one's. */
  readonly spreadMs: number;
}

export interface Read {
  readonly bytes: number;
  /** From the first request to the end of the last answer. */
  readonly seconds: number;
  /** The sum of what each connection read a second while it read. */
  readonly bytesPerSecond: number;
  /** Milliseconds from a request to the first byte of its body, of each. */
  readonly firstByteMs: number[];
}

export async function run({ port, path, headers, streams, spreadMs }: Load): Promise<Read> {
  const sockets = headers.map(() => net.connect(port, "127.0.0.1"));
  await Promise.all(sockets.map((socket) => once(socket, "connect")));
  const began = performance.now();
  const firstByteMs: number[] = [];
  let bytes = 0;
  let bytesPerSecond = 0;
  try {
    await Promise.all(
      sockets.map(async (socket, index) => {
        await sleep((spreadMs * index) / sockets.length);
        const lines = Object.entries({ Host: "bench", "Content-Length": "0", ...headers[index] });
        const head = `POST ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`;
        const started = performance.now();
        let own = 0;
        for (let count = 0; count < streams; count += 1) {
          const answer = await read(socket, head);
          own += answer.bytes;
          firstByteMs.push(answer.firstByteMs);
        }
        bytes += own;
        bytesPerSecond += own / ((performance.now() - started) / 1_000);
      }),
    );
  } finally {
    for (const socket of sockets) socket.destroy();
  }
  return { bytes, seconds: (performance.now() - began) / 1_000, bytesPerSecond, firstByteMs };
}

/** The end of a chunked body, as it is no part of the events. */
const end = "\r\n0\r\n\r\n";

function read(socket: net.Socket, head: string): Promise<{ bytes: number; firstByteMs: number }> {
  return new Promise((resolve, reject) => {
    const asked = performance.now();
    let firstByteMs: number | undefined;
    let bytes = 0;
    /** Of the head until it is over, then of the body. */
    let tail = "";
    const over = (act: () => void) => {
      socket.off("data", onData).off("error", onError).off("close", onClose);
      act();
    };
    const onError = (error: Error) => over(() => reject(error));
    const onClose = () => over(() => reject(new Error("The server closed a connection.")));
    const onData = (data: Buffer) => {
      bytes += data.length;
      if (firstByteMs === undefined) {
        tail += data.toString("latin1");
        const bodyAt = tail.indexOf("\r\n\r\n") + 4;
        if (bodyAt < 4 || bodyAt === tail.length) return;
        firstByteMs = performance.now() - asked;
        if (!tail.startsWith("HTTP/1.1 200 ")) {
          return over(() => reject(new Error(`The server answered ${tail.slice(0, 400)}`)));
        }
        bytes = tail.length - bodyAt;
      } else {
        tail += data.toString("latin1", Math.max(0, data.length - end.length));
      }
      tail = tail.slice(-end.length);
      const told = { bytes, firstByteMs };
      if (tail === end) over(() => resolve(told));
    };
    socket.on("data", onData).on("error", onError).on("close", onClose);
    socket.write(head);
  });
}
