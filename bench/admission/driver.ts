/** Sends requests through an application without a network: what is measured is ours, not the kernel's. */

import { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import type { Express } from "express";

/** A socket that takes everything and says nothing. */
function swallow(): Socket {
  const socket = new Duplex({
    read() {},
    write(_chunk, _encoding, done) {
      done();
    },
  });
  return Object.assign(socket, { bytesWritten: 0 }) as unknown as Socket;
}

/** @returns sends so many requests, one after the other; resolves with microseconds of the event loop for each */
export function createDriver(planId: string, holder: (index: number) => string) {
  function one(app: Express, index: number): Promise<void> {
    return new Promise((resolve) => {
      const socket = swallow();
      const req = new IncomingMessage(socket);
      req.method = "POST";
      req.url = "/v1/embeddings";
      req.httpVersionMajor = 1;
      req.httpVersionMinor = 1;
      req.rawHeaders = [
        ...["Host", "127.0.0.1", "Content-Type", "application/json"],
        ...["Nevermined-Plan-Id", planId, "Nevermined-Holder-Address", holder(index)],
        ...["Nevermined-Proof", "0xproof"],
      ];
      for (let at = 0; at < req.rawHeaders.length; at += 2) {
        const name = (req.rawHeaders[at] ?? "").toLowerCase();
        req.headers[name] = req.rawHeaders[at + 1];
      }
      const res = new ServerResponse(req);
      res.assignSocket(socket);
      res.once("finish", resolve);
      app(req as never, res as never);
    });
  }

  return async (app: Express, count: number): Promise<number> => {
    const before = performance.eventLoopUtilization();
    for (let index = 0; index < count; index += 1) await one(app, index);
    // Not the time in which it waits: for the journal, where more come than a disk can take.
    return (performance.eventLoopUtilization(before).active * 1_000) / count;
  };
}
