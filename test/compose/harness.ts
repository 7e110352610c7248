/**
 * One application twice, with the meter and without it: what clients get must be the same to the byte,
 * but for the receipt's header, and the meter must leave nothing behind.
 */

import { once } from "node:events";
import http, { type IncomingMessage, type Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import express, { type Express, type RequestHandler } from "express";
import { expect, onTestFinished } from "vitest";
import { type CreditMeter, type CreditMeterOptions, creditMeter } from "../../src/index.ts";
import { fundedLedger, keepLines, meterOptions, payment } from "../support/api.ts";

/** A request of a comparison. It pays, unless it says otherwise. */
export interface Call {
  readonly method?: string;
  readonly path: string;
  readonly headers?: Record<string, string>;
  readonly body?: string | Buffer;
  readonly pays?: false;
}

/** An answer as it came over the wire; the body is as it was sent, compressed or not. */
export interface Answer {
  readonly status: number;
  readonly statusMessage: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly trailers: NodeJS.Dict<string>;
  readonly body: Buffer;
}

/** What stands in for the meter in the application without it. */
export interface Mounted {
  /** For `app.use`. */
  readonly meter: RequestHandler;
  /** For one route. */
  charge(credits: number): RequestHandler;
}

const nothing: Mounted = {
  meter: (_req, _res, next) => next(),
  charge: () => (_req, _res, next) => next(),
};

/** An application on a server, in one of its two forms. */
export interface Side {
  readonly url: string;
  readonly port: number;
  readonly sockets: ReadonlySet<Socket>;
}

export interface Comparison {
  readonly options?: Partial<CreditMeterOptions>;
  /** Adds what the test is about; called once with the meter and once without it. */
  readonly build: (app: Express, mounted: Mounted) => void | Promise<void>;
  /** Makes the server; default: Node's own, with the application. */
  readonly serve?: (app: Express) => Server | Promise<Server>;
  readonly calls: readonly Call[];
  /** Amounts that the ledger burned in the end, in any order. */
  readonly charged: readonly number[];
  /** Headers whose values differ between any two answers, such as a session's cookie. */
  readonly varying?: readonly string[];
}

/** Sends one request on a connection that may be kept alive. */
export async function send(url: string, call: Call, agent?: http.Agent): Promise<Answer> {
  const { method = "GET", path, headers = {}, body, pays } = call;
  const req = http.request(new URL(path, url), {
    method,
    agent,
    headers: { ...(pays === false ? {} : payment), ...headers },
    // The path as it is written: `new URL` would tidy it.
    path,
  });
  req.end(body);
  const [res] = (await once(req, "response")) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of res) chunks.push(chunk as Buffer);
  const raw = res.rawHeaders;
  return {
    status: res.statusCode ?? 0,
    statusMessage: res.statusMessage ?? "",
    headers: raw.flatMap((name, index) =>
      index % 2 === 0 ? [[name, raw[index + 1] ?? ""] as const] : [],
    ),
    trailers: res.trailers,
    body: Buffer.concat(chunks),
  };
}

/** Starts an application and remembers its sockets; closed when the test ends. */
export async function start(server: Server): Promise<Side> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => {
    sockets.add(socket);
  });
  if (!server.listening) {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  }
  onTestFinished(async () => {
    server.close();
    server.closeAllConnections();
    if (server.listening) await once(server, "close");
  });
  const { port } = server.address() as AddressInfo;
  return { port, url: `http://127.0.0.1:${port}`, sockets };
}

/** How many listeners each event of the sockets has. */
const listenersOf = ({ sockets }: Side) =>
  [...sockets].map((socket) =>
    Object.fromEntries(
      socket.eventNames().map((name) => [String(name), socket.listenerCount(name)]),
    ),
  );

/** The same answer, without what differs between any two and what the meter adds. */
function comparable(answer: Answer, varying: readonly string[]) {
  const dropped = new Set(["date", "redemption-id", ...varying].map((name) => name.toLowerCase()));
  return {
    status: answer.status,
    statusMessage: answer.statusMessage,
    headers: answer.headers.filter(([name]) => !dropped.has(name.toLowerCase())),
    trailers: answer.trailers,
    body: answer.body.toString("base64"),
  };
}

/** What was seen, for what a test asserts beyond the comparison. */
export interface Compared {
  readonly meter: CreditMeter;
  readonly lines: ReturnType<typeof keepLines>["lines"];
  readonly answers: readonly Answer[];
}

/**
 * Sends the calls, one after the other on one connection that is kept alive, to the application with
 * the meter and to the one without it, and compares.
 */
export async function compare(comparison: Comparison): Promise<Compared> {
  const { build, calls, charged, varying = [], options } = comparison;
  const ledger = await fundedLedger(10_000);
  const { lines, logger } = keepLines();
  const meter = creditMeter({ ...meterOptions(ledger), logger, ...options });
  onTestFinished(async () => {
    await meter.close({ deadlineMs: 0 });
  });
  const sides: Side[] = [];
  for (const mounted of [{ meter, charge: (credits: number) => meter.charge(credits) }, nothing]) {
    const app = express();
    app.set("env", "test");
    await build(app, mounted);
    sides.push(await start(await (comparison.serve?.(app) ?? http.createServer(app))));
  }
  const [metered, bare] = sides as [Side, Side];

  const answers: Answer[] = [];
  const agents = sides.map(() => new http.Agent({ keepAlive: true, maxSockets: 1 }));
  for (const call of calls) {
    const withMeter = await send(metered.url, call, agents[0]);
    const without = await send(bare.url, call, agents[1]);
    answers.push(withMeter);
    expect(comparable(withMeter, varying), `${call.method ?? "GET"} ${call.path}`).toEqual(
      comparable(without, varying),
    );
  }
  await meter.flush();
  expect(ledger.burns().map((burn) => burn.amount)).toEqual(charged);
  expectNothingLeft(meter);
  // A listener that stays on a kept-alive socket grows with each request.
  const [ours, theirs] = [listenersOf(metered), listenersOf(bare)];
  for (const [index, counts] of ours.entries()) {
    for (const [name, count] of Object.entries(counts)) {
      const most = (theirs[index]?.[name] ?? 0) + 1;
      expect(count, `listeners for ${name} on a socket`).toBeLessThanOrEqual(most);
    }
  }
  for (const agent of agents) agent.destroy();
  return { meter, lines, answers };
}

/** No hold, place or watch outlives its request. */
export function expectNothingLeft(meter: CreditMeter): void {
  expect(meter.health()).toMatchObject({ pending: 0, sending: 0, exposure: 0 });
}
