import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";

/** A listening HTTP server that can leave and come back on the same port. */
export interface Listener {
  host: string;
  port: number;
  leave(): Promise<void>;
  comeBack(): Promise<void>;
}

/** @param reject says for each new connection whether it is destroyed at once. */
export async function listen(
  handle: RequestListener,
  where: { host: string; port: number; keepAliveMs: number },
  reject: () => boolean,
): Promise<Listener> {
  const server = createServer({ keepAliveTimeout: where.keepAliveMs }, handle);
  server.prependListener("connection", (socket) => {
    if (reject()) socket.destroy();
  });
  const open = (port: number) =>
    new Promise<void>((resolve, fail) => {
      const failed = (error: NodeJS.ErrnoException) => fail(cannotListen(error, where.host, port));
      server.once("error", failed);
      server.listen(port, where.host, () => {
        server.off("error", failed);
        resolve();
      });
    });
  await open(where.port);
  const { port } = server.address() as AddressInfo;
  return {
    host: where.host,
    port,
    leave: () =>
      new Promise((resolve) => {
        // Its only error is that it was not listening, which is what is wanted.
        server.close(() => resolve());
        server.closeAllConnections();
      }),
    comeBack: () => (server.listening ? Promise.resolve() : open(port)),
  };
}

function cannotListen(error: NodeJS.ErrnoException, host: string, port: number): Error {
  const message =
    error.code === "EADDRINUSE"
      ? `Port ${port} on ${host} is in use: choose another, or 0 for any free one.`
      : `The ledger cannot listen on ${host}:${port}: ${error.message}.`;
  return Object.assign(new Error(message, { cause: error }), { code: error.code });
}
