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
  /** Milliseconds of a clock that nobody sets. */
  readonly elapsed: () => number;
}

/**
 * undici's `Client` holds one socket and opens a new one when that is gone. Its `Pool` is not used:
 * it queues what it has no free client for, and the client of a failed connection leaves it and
 * goes on outside of its count, where `destroy()` does not reach it.
 */
export interface Sockets {
  /**
   * A client that nobody uses, or undefined where all of them are in use.
   *
   * @param maxIdleMs milliseconds that its socket may have stood idle, else it has none yet; 0: it has none
   */
  take(maxIdleMs: number): Client | undefined;
  /** Takes a client back whose exchange ended as it should. */
  keep(client: Client): void;
  /** Ends a client at once, with whatever it was doing: connecting, too. */
  drop(client: Client): void;
  close(): Promise<void>;
}

/**
 * Idle sockets are retired after this many milliseconds: Node's own servers close them after 5 s, many proxies
 * sooner, some after 50 ms. A request that meets a closing socket fails with `ECONNRESET` after it was written,
 * and nobody can say then whether it was applied; so whoever takes a socket says how long it may have stood idle.
 */
const idleSocketMs = 1_000;

export async function openSockets(options: SocketsOptions): Promise<Sockets> {
  // undici is loaded with the first charge: a program's start does not pay for it.
  const undici = await import("undici");
  const clients = new Map<Client, { socket?: Socket }>();
  // One for all: it resumes TLS sessions, so that a new connection costs one round trip more and no key exchange.
  const connect = undici.buildConnector({ timeout: options.connectTimeoutMs });
  // It holds sessions by weak references only (undici 7, lib/core/connect.js): the last one is kept here.
  const kept: { session?: Buffer } = {};
  /** In the order in which they were used. */
  const idle: { readonly client: Client; readonly since: number }[] = [];

  async function end(client: Client) {
    const ended = client.destroy();
    // `destroy` leaves a connection that is being made alone until it stands or times out.
    clients.get(client)?.socket?.destroy();
    clients.delete(client);
    await ended;
  }

  return {
    take(maxIdleMs) {
      // The one that was used last: what is not needed goes idle and is retired.
      const last = idle.at(-1);
      if (last && options.elapsed() - last.since < maxIdleMs) {
        idle.pop();
        return last.client;
      }
      if (clients.size >= options.connections) {
        const oldest = idle.shift();
        if (!oldest) return undefined;
        void end(oldest.client);
      }
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
          latest.socket.on("session", (session: Buffer) => {
            kept.session = session;
          });
        },
        // The whole attempt has a deadline.
        headersTimeout: 0,
        bodyTimeout: 0,
      });
      clients.set(client, latest);
      return client;
    },

    keep(client) {
      idle.push({ client, since: options.elapsed() });
    },

    drop(client) {
      void end(client);
    },

    async close() {
      delete kept.session;
      await Promise.all([...clients.keys()].map(end));
    },
  };
}
