/** A balancer of a few lines: each process in turn, and the next one where nobody listens. */

import { once } from "node:events";
import http, { type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface Balancer {
  readonly url: string;
  close(): void;
}

export async function startBalancer(ports: readonly number[]): Promise<Balancer> {
  let turn = 0;

  /** A request that was handed to a process is never handed to another: it may have been answered. */
  function pass(req: IncomingMessage, res: ServerResponse, tries: number) {
    const port = ports[turn % ports.length];
    turn += 1;
    const { method, url: path, headers } = req;
    // A connection of its own for each: who is refused has certainly sent nothing.
    const upstream = http.request({ host: "127.0.0.1", port, method, path, headers, agent: false });
    upstream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED" && tries > 1) return pass(req, res, tries - 1);
      if (res.headersSent) res.destroy();
      else res.writeHead(502).end();
    });
    upstream.on("response", (answer) => {
      res.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.on("error", () => res.destroy());
      answer.pipe(res);
    });
    // The requests of this example have no body.
    upstream.end();
  }

  const server = http.createServer((req, res) => pass(req, res, ports.length));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
