/** The sockets to the ledger: never more than agreed, and never a request that waits for one. */

import type { Socket } from "node:net";
import type { Client } from "undici";

export interface SocketsOptions {
  /** Scheme, host and port of the ledger. */
  readonly origin: string;
  /** Sockets at the most. */
  readonly connections: number;
  /** Milliseconds in which a connection must stand, TLS included. */
  readonly connectTimeoutMs: number;
}

/**
 * undici's `Client` holds one socket and opens a new one when that is gone. Its `Pool` is not used:
 * it queues what it has no free client for, and the client of a failed connection leaves it and
 * goes on outside of its count, where `destroy()` does not reach it.
 */
export interface Sockets {
  /** A client that nobody uses, or undefined where all of them are in use. */
  take(): Client | undefined;
  /** Takes a client back whose exchange ended as it should. */
  keep(client: Client): void;
  /** Ends a client at once, with whatever it was doing: connecting, too. */
  drop(client: Client): void;
  close(): Promise<void>;
}

/**
 * Idle sockets are retired after this many milliseconds, before servers close them under a request
 * (Node's own servers do after 5 s, many proxies sooner). A POST that meets a closing socket fails
 * with `ECONNRESET` after it was written, and nobody can say then whether it was applied.
 */
const idleSocketMs = 1_000;

export async function openSockets(options: SocketsOptions): Promise<Sockets> {
  // undici is loaded with the first charge: a program's start does not pay for it.
  const undici = await import("undici");
  const clients = new Map<Client, { socket?: Socket }>();
  const connect = undici.buildConnector({ timeout: options.connectTimeoutMs });
  const idle: Client[] = [];

  async function end(client: Client) {
    const ended = client.destroy();
    // `destroy` leaves a connection that is being made alone until it stands or times out.
    clients.get(client)?.socket?.destroy();
    clients.delete(client);
    await ended;
  }

  return {
    take() {
      // The one that was used last: what is not needed goes idle and is retired.
      const free = idle.pop();
      if (free || clients.size >= options.connections) return free;
      const latest: { socket?: Socket } = {};
      const client = new undici.Client(options.origin, {
        pipelining: 1,
        keepAliveTimeout: idleSocketMs,
        keepAliveMaxTimeout: idleSocketMs,
        // Not `connect.signal`: Node 20 leaves a listener on it for each socket that ever was.
        connect(target, callback) {
          // Typed as void (undici 7), and returns the socket that it makes.
          const socket: unknown = connect(target, callback);
          latest.socket = socket as Socket;
        },
        // The whole attempt has a deadline.
        headersTimeout: 0,
        bodyTimeout: 0,
      });
      clients.set(client, latest);
      return client;
    },

    keep(client) {
      idle.push(client);
    },

    drop(client) {
      void end(client);
    },

    async close() {
      await Promise.all([...clients.keys()].map(end));
    },
  };
}
