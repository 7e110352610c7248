import { spawn } from "node:child_process";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { EventEmitter, getEventListeners, once } from "node:events";
import http from "node:http";
import net, { type AddressInfo, type Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { faultOf } from "../../src/client/exchange.ts";
import { encodeRedeem } from "../../src/client/wire.ts";
import type { Answer, Charge } from "../../src/redemption.ts";
import { aCharge, aClient, apiKey, closeClients } from "./support.ts";

const servers = new Set<net.Server>();
const accepted = new Set<Socket>();

/**
 * Counts heads that undici hands to a socket, by a way of its own: what the client says about
 * writing is held against it after every test.
 */
let headsWritten = 0;
const countHead = () => {
  headsWritten += 1;
};
let attempts: Promise<Answer>[] = [];

beforeEach(() => {
  headsWritten = 0;
  attempts = [];
  subscribe("undici:client:sendHeaders", countHead);
});

afterEach(async () => {
  const answers = await Promise.all(attempts);
  unsubscribe("undici:client:sendHeaders", countHead);
  await closeClients();
  for (const socket of accepted) socket.destroy();
  accepted.clear();
  for (const server of servers) server.close();
  servers.clear();
  const unreached = answers.filter(
    (answer) => answer.status === "pending" && answer.reason === "ledger-unreachable",
  );
  expect(answers.length - unreached.length).toBe(headsWritten);
});

/** Sends, and has the evidence checked after the test. */
function redeem(client: ReturnType<typeof aClient>, charge = aCharge(), signal?: AbortSignal) {
  const attempt = client.redeem(charge, signal);
  attempts.push(attempt);
  return attempt;
}

async function listen<S extends net.Server>(server: S): Promise<S> {
  servers.add(server);
  server.on("connection", (socket) => {
    accepted.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => accepted.delete(socket));
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return server;
}

function at(server: net.Server, scheme = "http"): string {
  return `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}/api/v1`;
}

/** A raw server that calls back for each whole request on each socket. */
async function rawServer(onRequest: (socket: Socket, text: string, nth: number) => void) {
  let nth = 0;
  return listen(
    net.createServer((socket) => {
      let text = "";
      socket.setEncoding("utf8").on("data", (chunk) => {
        text += chunk;
        const length = Number(/content-length: (\d+)/i.exec(text)?.[1]);
        const head = text.indexOf("\r\n\r\n");
        if (head === -1 || Buffer.byteLength(text.slice(head + 4)) < length) return;
        const whole = text;
        text = "";
        nth += 1;
        onRequest(socket, whole, nth);
      });
    }),
  );
}

const ok = (reply: object, ...headers: string[]) => {
  const body = JSON.stringify(reply);
  return ["HTTP/1.1 200 OK", `content-length: ${body.length}`, ...headers, "", body].join("\r\n");
};

const notSent = { status: "pending", reason: "ledger-unreachable" };
const lost = { status: "unresolved", reason: "answer-lost" };
const completed = { status: "completed" };

describe("nothing was written", () => {
  test("when the port is closed", async () => {
    const server = await listen(net.createServer());
    const baseUrl = at(server);
    server.close();
    await once(server, "close");
    expect(await redeem(aClient({ baseUrl }))).toMatchObject({
      ...notSent,
      code: "ECONNREFUSED",
      message: expect.stringContaining("Nothing was sent"),
    });
  });

  test("when every address of a name refuses, and the fault still has a name", () => {
    const refused = Object.assign(new Error("connect ECONNREFUSED ::1:80"), {
      code: "ECONNREFUSED",
    });
    // As node:net gives it for a name with several addresses: it has no message of its own.
    expect(faultOf(new AggregateError([refused, refused]))).toEqual({
      code: "ECONNREFUSED",
      message: "connect ECONNREFUSED ::1:80",
    });
    for (const odd of [
      undefined,
      null,
      "x",
      {},
      new AggregateError([]),
      { code: 5, message: "" },
    ]) {
      expect(faultOf(odd)).toEqual({ code: "UNKNOWN", message: "unknown error" });
    }
  });

  test("when the name does not exist", async () => {
    expect(await redeem(aClient({ baseUrl: "http://ledger.invalid" }))).toMatchObject({
      ...notSent,
      code: expect.stringMatching(/^(ENOTFOUND|EAI_AGAIN)$/),
    });
  });

  test("when the server does not speak TLS", async () => {
    const server = await listen(
      net.createServer((socket) => socket.once("data", () => socket.end("Pardon?\r\n"))),
    );
    expect(await redeem(aClient({ baseUrl: at(server, "https") }))).toMatchObject(notSent);
  });

  test("when the TLS handshake is cut", async () => {
    const server = await listen(
      net.createServer((socket) => socket.once("data", () => socket.resetAndDestroy())),
    );
    expect(await redeem(aClient({ baseUrl: at(server, "https") }))).toMatchObject(notSent);
  });

  test("when the TLS handshake hangs until the deadline, and the socket is ended then", async () => {
    const ended = new EventEmitter();
    const server = await listen(
      net.createServer((socket) => {
        socket.on("close", () => ended.emit("close")).resume();
      }),
    );
    const close = once(ended, "close");
    const answer = redeem(aClient({ baseUrl: at(server, "https"), timeoutMs: 150 }));
    expect(await answer).toMatchObject(notSent);
    await close;
  });

  test("when it is given up before it is begun", async () => {
    const server = await rawServer((socket) => socket.write(ok({})));
    let connections = 0;
    server.on("connection", () => {
      connections += 1;
    });
    const client = aClient({ baseUrl: at(server) });
    const answer = redeem(client, aCharge(), AbortSignal.abort());
    expect(await answer).toMatchObject({ ...notSent, code: "ABORTED" });
    expect(await redeem(client)).toMatchObject(completed);
    expect(connections).toBe(1);
  });

  test("when it is given up while connecting, and the socket is ended at once", async () => {
    const server = await listen(net.createServer());
    const client = aClient({ baseUrl: at(server, "https"), timeoutMs: 600_000 });
    const giveUp = new AbortController();
    const answer = redeem(client, aCharge(), giveUp.signal);
    const [socket] = (await once(server, "connection")) as [Socket];
    const close = once(socket.resume(), "close");
    giveUp.abort();
    expect(await answer).toMatchObject({ ...notSent, code: "ABORTED" });
    await close;
    expect(getEventListeners(giveUp.signal, "abort")).toEqual([]);
  });

  test("when it is given up in the tick in which the connection stands", async () => {
    let requests = 0;
    const server = await rawServer((socket) => {
      requests += 1;
      socket.write(ok({}));
    });
    const giveUp = new AbortController();
    const onConnected = () => giveUp.abort();
    subscribe("undici:client:connected", onConnected);
    try {
      const client = aClient({ baseUrl: at(server) });
      const answer = redeem(client, aCharge(), giveUp.signal);
      expect(await answer).toMatchObject({ ...notSent, code: "ABORTED" });
      expect(await redeem(client)).toMatchObject(completed);
      expect(requests).toBe(1);
    } finally {
      unsubscribe("undici:client:connected", onConnected);
    }
  });

  test("when all sockets are in use: one more is refused and not queued", async () => {
    const arrived = new EventEmitter();
    const server = await rawServer((socket, text) => arrived.emit("request", socket, text));
    const client = aClient({ baseUrl: at(server), connections: 1 });
    const first = redeem(client);
    const [socket] = (await once(arrived, "request")) as [Socket];
    expect(await redeem(client)).toMatchObject({ ...notSent, code: "NO_FREE_CONNECTION" });
    socket.write(ok({ creditsRedeemed: 10 }));
    expect(await first).toMatchObject(completed);
    const third = redeem(client);
    await once(arrived, "request");
    socket.write(ok({ creditsRedeemed: 10 }));
    expect(await third).toMatchObject(completed);
  });

  test("when the key cannot stand in a header", async () => {
    const server = await rawServer((socket) => socket.write(ok({})));
    const client = aClient({ baseUrl: at(server), apiKey: "nvm:two\r\nlines: of-a-key" });
    const answer = await redeem(client);
    expect(answer).toMatchObject(notSent);
    expect(JSON.stringify(answer)).not.toContain("of-a-key");
  });
});

describe("something was written, and no answer came", () => {
  test("reset before the server read it", async () => {
    const server = await listen(net.createServer({ pauseOnConnect: true }));
    const written = new EventEmitter();
    const onSent = () => written.emit("sent");
    subscribe("undici:request:bodySent", onSent);
    try {
      const sent = once(written, "sent");
      const connection = once(server, "connection");
      const answer = redeem(aClient({ baseUrl: at(server) }));
      const [socket] = (await connection) as [Socket];
      await sent;
      socket.resetAndDestroy();
      expect(await answer).toMatchObject(lost);
    } finally {
      unsubscribe("undici:request:bodySent", onSent);
    }
  });

  test("reset at once: judged by what was written, whichever it was", async () => {
    const server = await listen(net.createServer((socket) => socket.resetAndDestroy()));
    // The count of heads after the test holds the judgement against what undici wrote.
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        const answer = await redeem(aClient({ baseUrl: at(server) }));
        expect([notSent.status, lost.status]).toContain(answer.status);
      }),
    );
  });

  test("reset after the server read it", async () => {
    const server = await rawServer((socket) => socket.resetAndDestroy());
    expect(await redeem(aClient({ baseUrl: at(server) }))).toMatchObject(lost);
  });

  test("closed after the server read it", async () => {
    const server = await rawServer((socket) => socket.end());
    expect(await redeem(aClient({ baseUrl: at(server) }))).toMatchObject({
      ...lost,
      code: "UND_ERR_SOCKET",
    });
  });

  test("the deadline passes, and the socket is ended then", async () => {
    const ended = new EventEmitter();
    const server = await rawServer((socket) => {
      socket.on("close", () => ended.emit("close"));
    });
    const close = once(ended, "close");
    expect(await redeem(aClient({ baseUrl: at(server), timeoutMs: 1_000 }))).toMatchObject({
      ...lost,
      code: "ETIMEDOUT",
    });
    await close;
  });

  test("given up while the server works on it, and the socket is ended then", async () => {
    const arrived = new EventEmitter();
    const server = await rawServer((socket) => arrived.emit("request", socket));
    const giveUp = new AbortController();
    const answer = redeem(aClient({ baseUrl: at(server) }), aCharge(), giveUp.signal);
    const [socket] = (await once(arrived, "request")) as [Socket];
    const close = once(socket, "close");
    giveUp.abort();
    expect(await answer).toMatchObject({ ...lost, code: "ABORTED" });
    await close;
    expect(getEventListeners(giveUp.signal, "abort")).toEqual([]);
  });

  test("the client is closed while the server works on it", async () => {
    const arrived = new EventEmitter();
    const server = await rawServer((socket) => arrived.emit("request", socket));
    const client = aClient({ baseUrl: at(server) });
    const answer = redeem(client);
    const [socket] = (await once(arrived, "request")) as [Socket];
    const close = once(socket, "close");
    await client.close();
    expect(await answer).toMatchObject(lost);
    await close;
  });

  test("an answer that comes too late is not taken for the next charge's", async () => {
    const arrived = new EventEmitter();
    const sockets: Socket[] = [];
    const server = await rawServer((socket, _text, nth) => {
      sockets.push(socket);
      arrived.emit("request");
      if (nth === 1) return;
      sockets[0]?.write(ok({ creditsRedeemed: 111 }));
      socket.write(ok({ creditsRedeemed: 10 }));
    });
    const client = aClient({ baseUrl: at(server), connections: 1 });
    const giveUp = new AbortController();
    const first = redeem(client, aCharge(), giveUp.signal);
    await once(arrived, "request");
    giveUp.abort();
    expect(await first).toMatchObject(lost);
    expect(await redeem(client)).toMatchObject({ ...completed, redeemedAmount: 10 });
    expect(new Set(sockets).size).toBe(2);
  });
});

describe("the answer", () => {
  const body = '{"success":true,"creditsRedeemed":10}';
  const head = (status: number, ...headers: string[]) =>
    [`HTTP/1.1 ${status} Whatever`, ...headers, "", ""].join("\r\n");
  const kib64 = 64 * 1024;

  const answers: [what: string, bytes: string | Buffer, end: boolean, expected: object][] = [
    ["a head alone", head(200, "content-length: 37"), true, lost],
    ["a body that is cut", head(200, "content-length: 37") + body.slice(0, 20), true, lost],
    [
      "chunks that are cut",
      `${head(200, "transfer-encoding: chunked")}25\r\n${body}\r\n`,
      true,
      lost,
    ],
    ["no length, to the end", head(200, "connection: close") + body, true, completed],
    ["no length, cut", head(200, "connection: close") + body.slice(0, -1), true, lost],
    ["no HTTP", "SSH-2.0-OpenSSH_9.6\r\n", true, lost],
    ["no HTTP, and the socket stays open", "220 mail.test ESMTP\r\n", false, lost],
    [
      "two lengths that differ",
      head(200, "content-length: 37", "content-length: 5") + body,
      false,
      lost,
    ],
    ["103, then nothing", head(103, "link: </>"), true, lost],
    [
      "103 and 102, then the answer",
      head(103) + head(102) + head(200, "content-length: 37") + body,
      false,
      completed,
    ],
    ["100 that nobody asked for", head(100) + head(200, "content-length: 37") + body, false, lost],
    ["another protocol", head(101, "upgrade: x", "connection: upgrade"), false, lost],
    ["a head that never ends", `HTTP/1.1 200 OK\r\n${"x: y\r\n".repeat(10_000)}`, false, lost],
    ["64 KiB", head(200, `content-length: ${kib64}`) + body.padEnd(kib64), false, completed],
    [
      "64 KiB and a byte",
      head(200, `content-length: ${kib64 + 1}`) + body.padEnd(kib64 + 1),
      false,
      { ...lost, code: "REPLY_TOO_LARGE" },
    ],
    [
      "a page without an end",
      head(200) + "x".repeat(4 * kib64),
      false,
      { ...lost, code: "REPLY_TOO_LARGE" },
    ],
    [
      "gzip, though we ask for none",
      Buffer.concat([
        Buffer.from(head(200, "content-encoding: gzip", "connection: close")),
        gzipSync(body),
      ]),
      true,
      lost,
    ],
    ["a body of zeros", `${head(200, "content-length: 9")}${"\0".repeat(9)}`, false, lost],
    [
      "402, cut after its head",
      head(402, "content-length: 100"),
      true,
      { status: "failed", reason: "insufficient-credits" },
    ],
    [
      "429, cut after its head",
      head(429, "content-length: 100", "retry-after: 7"),
      true,
      { status: "pending", reason: "ledger-throttled", retryAfterMs: 7_000 },
    ],
    ["500, cut after its head", head(500, "content-length: 100"), true, lost],
  ];
  test.each(answers)("%s", async (_what, bytes, end, expected) => {
    const server = await rawServer((socket) => {
      socket.write(bytes);
      if (end) socket.end();
    });
    const client = aClient({ baseUrl: at(server), connections: 1 });
    expect(await redeem(client)).toMatchObject(expected);
    // Whatever came of it, the client goes on.
    expect(await redeem(client)).toMatchObject(expected);
  });

  test("byte by byte is one answer", async () => {
    const server = await rawServer(async (socket) => {
      socket.setNoDelay(true);
      for (const byte of ok({ creditsRedeemed: 10 })) {
        socket.write(byte);
        await new Promise(setImmediate);
      }
    });
    expect(await redeem(aClient({ baseUrl: at(server) }))).toMatchObject(completed);
  });

  test("a server that does not stop writing is cut off", async () => {
    const ended = new EventEmitter();
    const server = await rawServer((socket) => {
      socket.on("close", () => ended.emit("close"));
      const pour = () => {
        while (!socket.destroyed && socket.write("x".repeat(kib64)));
      };
      socket.on("drain", pour).write(head(200));
      pour();
    });
    const close = once(ended, "close");
    expect(await redeem(aClient({ baseUrl: at(server) }))).toMatchObject(lost);
    await close;
  });

  test("two answers to one request: the second one is nobody's", async () => {
    const server = await rawServer((socket, _text, nth) => {
      socket.write(ok({ creditsRedeemed: nth }) + ok({ creditsRedeemed: 100 + nth }));
    });
    const client = aClient({ baseUrl: at(server), connections: 1 });
    for (const redeemedAmount of [1, 2, 3]) {
      expect(await redeem(client)).toMatchObject({ ...completed, redeemedAmount });
    }
  });
});

describe("the sockets", () => {
  test("carry exactly these bytes", async () => {
    let seen = "";
    const server = await rawServer((socket, text) => {
      seen = text;
      socket.write(ok({}));
    });
    const charge = aCharge({ proof: '{"who":"Jürgen 🦜"}' });
    await redeem(aClient({ baseUrl: at(server) }), charge);
    const body = encodeRedeem(charge);
    expect(seen.split("\r\n")).toEqual([
      "POST /api/v1/protocol/plans/redeem HTTP/1.1",
      `host: ${new URL(at(server)).host}`,
      "connection: keep-alive",
      "accept: application/json",
      "accept-encoding: identity",
      "nevermined-version: 1.1",
      `authorization: Bearer ${apiKey}`,
      "content-type: application/json",
      `idempotency-key: ${charge.redemptionId}`,
      `x-correlation-id: ${charge.redemptionId}`,
      `content-length: ${Buffer.byteLength(body)}`,
      "",
      body,
    ]);
  });

  test("are as many as agreed, all of them used at once, and used again", async () => {
    const connections = 3;
    const rounds = 5;
    const waiting: Socket[] = [];
    const sockets = new Set<Socket>();
    // Answers only when every socket has a request: were one queued, nothing would be answered.
    const server = await rawServer((socket) => {
      sockets.add(socket);
      waiting.push(socket);
      if (waiting.length < connections) return;
      for (const ready of waiting.splice(0)) ready.write(ok({ creditsRedeemed: 10 }));
    });
    const client = aClient({ baseUrl: at(server), connections, elapsed: () => 0 });
    // Each sends its next charge in the very tick in which it has its answer.
    const worker = async () => {
      for (let round = 0; round < rounds; round += 1) {
        expect(await redeem(client)).toMatchObject(completed);
      }
    };
    await Promise.all(Array.from({ length: connections }, worker));
    expect(sockets.size).toBe(connections);
  });

  test("of many charges leave nothing behind on a signal that they share", async () => {
    const server = await rawServer((socket, _text, nth) => {
      if (nth % 2 === 0) socket.write(ok({}));
      else socket.resetAndDestroy();
    });
    const client = aClient({ baseUrl: at(server) });
    const { signal } = new AbortController();
    for (let round = 0; round < 6; round += 1) await redeem(client, aCharge(), signal);
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });

  test("are not used up by charges that fail in any way", async () => {
    const fates: ((socket: Socket) => void)[] = [
      (socket) => socket.resetAndDestroy(),
      (socket) => socket.end("nonsense\r\n"),
      (socket) => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
      (socket) => socket.write(`HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\n{}`),
      (socket) => socket.write(ok({}, "connection: close")),
      (socket) => socket.write(ok({})),
    ];
    const server = await rawServer((socket, _text, nth) => fates[nth % fates.length]?.(socket));
    const client = aClient({ baseUrl: at(server), connections: 2 });
    for (let round = 0; round < 3 * fates.length; round += 1) {
      const both = await Promise.all([redeem(client), redeem(client)]);
      for (const answer of both) expect(answer.status).not.toBe("pending");
    }
  });

  test("that the server closed while they were idle cost no charge", async () => {
    const sockets: Socket[] = [];
    const server = await rawServer((socket) => {
      sockets.push(socket);
      socket.write(ok({ creditsRedeemed: 10 }));
    });
    const client = aClient({ baseUrl: at(server), connections: 1 });
    expect(await redeem(client)).toMatchObject(completed);
    const [first] = sockets;
    if (!first) throw new Error("no connection came");
    const close = once(first, "close");
    first.end();
    await close;
    expect(await redeem(client)).toMatchObject(completed);
    expect(sockets[1]).not.toBe(first);
  });

  test("of a server that closes after every answer cost no charge", async () => {
    let connections = 0;
    const server = await listen(
      http.createServer((_req, res) => {
        res.setHeader("connection", "close").end("{}");
      }),
    );
    server.on("connection", () => {
      connections += 1;
    });
    const client = aClient({ baseUrl: at(server), connections: 1 });
    for (let round = 0; round < 5; round += 1) {
      expect(await redeem(client)).toMatchObject(completed);
    }
    expect(connections).toBe(5);
  });

  test("are retired when idle, though the server would keep them for ten minutes", async () => {
    const ended = new EventEmitter();
    const server = await rawServer((socket) => {
      socket.on("close", () => ended.emit("close"));
      socket.write(ok({}, "keep-alive: timeout=600"));
    });
    const close = once(ended, "close");
    expect(await redeem(aClient({ baseUrl: at(server) }))).toMatchObject(completed);
    await close;
  });

  test("are ended by close(), idle ones and ones that are being made; then nothing is sent", async () => {
    const silent = await listen(net.createServer());
    const connecting = aClient({ baseUrl: at(silent, "https"), timeoutMs: 600_000 });
    const answer = redeem(connecting);
    const [half] = (await once(silent, "connection")) as [Socket];
    const halfClosed = once(half.resume(), "close");
    await connecting.close();
    expect(await answer).toMatchObject(notSent);
    await halfClosed;

    const sockets: Socket[] = [];
    const server = await rawServer((socket) => {
      sockets.push(socket);
      socket.write(ok({}));
    });
    const client = aClient({ baseUrl: at(server) });
    expect(await redeem(client)).toMatchObject(completed);
    const closed = once(sockets[0] as Socket, "close");
    await Promise.all([client.close(), client.close()]);
    await closed;
    expect(await redeem(client)).toMatchObject({ ...notSent, code: "CLOSED" });
    expect(sockets).toHaveLength(1);
  });

  test("are not opened by a client that was closed before its first charge", async () => {
    const server = await rawServer((socket) => socket.write(ok({})));
    const client = aClient({ baseUrl: at(server) });
    const inTheSameTick = redeem(client);
    await client.close();
    expect(await inTheSameTick).toMatchObject(notSent);
    expect(await redeem(client)).toMatchObject({ ...notSent, code: "CLOSED" });
  });

  test("do not keep a program alive that has nothing else to do", async () => {
    const server = await rawServer((socket) => socket.write(ok({})));
    const charge: Charge = aCharge();
    const module = new URL("../../src/client/nevermined.ts", import.meta.url).href;
    // An idle socket that kept the loop alive would be retired, so destroyed, before the loop ends.
    const program = `
      import { subscribe } from "node:diagnostics_channel";
      import { createNeverminedClient } from ${JSON.stringify(module)};
      let socket;
      subscribe("undici:client:connected", (message) => { socket = message.socket; });
      process.once("beforeExit", () => console.log("idle socket open:", !socket.destroyed));
      const client = createNeverminedClient({
        baseUrl: ${JSON.stringify(at(server))}, redeemPath: "/redeem", apiKey: "nvm:key",
        connections: 1, timeoutMs: 600_000, honoursIds: false, now: Date.now,
        elapsed: () => performance.now(),
      });
      const answer = await client.redeem(${JSON.stringify(charge)}, new AbortController().signal);
      console.log(answer.status);
    `;
    const child = spawn(
      process.execPath,
      ["--import", "tsx", "--input-type=module", "--eval", program],
      {
        cwd: fileURLToPath(new URL("../..", import.meta.url)),
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    let said = "";
    child.stdout.setEncoding("utf8").on("data", (chunk) => {
      said += chunk;
    });
    const [code] = await once(child, "close");
    expect(said).toBe("completed\nidle socket open: true\n");
    expect(code).toBe(0);
  });
});
