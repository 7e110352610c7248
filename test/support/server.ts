/** Real servers and raw sockets for tests: every one is closed when its test ends. */

import { once } from "node:events";
import type { RequestListener } from "node:http";
import http from "node:http";
import net from "node:net";
import { onTestFinished } from "vitest";

/** Listens on a free port of 127.0.0.1 until the test ends. */
export async function listen(handler: RequestListener): Promise<{ port: number; url: string }> {
  const server = http.createServer(handler);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(async () => {
    server.close();
    server.closeAllConnections();
    if (server.listening) await once(server, "close");
  });
  const { port } = server.address() as net.AddressInfo;
  return { port, url: `http://127.0.0.1:${port}` };
}

/** A client that does just what it is told, which no HTTP client does. */
export interface RawClient {
  readonly socket: net.Socket;
  /** Sends requests without a body, all in one write. */
  send(...requestLines: string[]): void;
  /** Resolves when what has arrived so far contains the text. */
  received(text: string): Promise<string>;
  /** All that has arrived. */
  text(): string;
}

export async function connect(
  port: number,
  headers: Record<string, string> = {},
): Promise<RawClient> {
  const socket = net.connect(port, "127.0.0.1");
  onTestFinished(() => {
    socket.destroy();
  });
  // The tests cut connections; what that does to this end is no failure.
  socket.on("error", () => {});
  let text = "";
  const arrived = new Set<() => void>();
  socket.setEncoding("latin1");
  socket.on("data", (chunk) => {
    text += chunk;
    for (const check of arrived) check();
  });
  await once(socket, "connect");
  const lines = Object.entries({ Host: "test", ...headers }).map(
    ([name, value]) => `${name}: ${value}`,
  );
  return {
    socket,
    send(...requestLines) {
      socket.write(
        requestLines.map((line) => `${line} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`).join(""),
      );
    },
    received: (wanted) =>
      new Promise((resolve) => {
        const check = () => {
          if (!text.includes(wanted)) return;
          arrived.delete(check);
          resolve(text);
        };
        arrived.add(check);
        check();
      }),
    text: () => text,
  };
}

/** A promise with its resolver outside. */
export function deferred<Value = void>(): {
  promise: Promise<Value>;
  resolve: (value: Value) => void;
} {
  let resolve: (value: Value) => void = () => {};
  const promise = new Promise<Value>((onResolve) => {
    resolve = onResolve;
  });
  return { promise, resolve };
}
