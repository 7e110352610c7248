import { once } from "node:events";
import type { Socket } from "node:net";
import express, { type NextFunction, type Request, type Response } from "express";
import { describe, expect, test } from "vitest";
import { type Delivery, watchDelivery } from "../../src/middleware/delivery.ts";
import { connect, deferred, listen } from "../support/server.ts";

type Handler = (req: Request, res: Response, next: NextFunction) => void;

/** An application that watches every delivery; `told` lists them with their path as they come. */
async function watched(routes: Record<string, Handler>) {
  const told: (Delivery & { path: string })[] = [];
  const waiting: { count: number; resolve: () => void }[] = [];
  const started = deferred();
  const responses = new Map<string, Response>();
  const app = express();
  // Elsewhere Express writes what handlers throw to the console.
  app.set("env", "test");
  app.use((req, res, next) => {
    responses.set(req.path, res);
    watchDelivery(req, res, (delivery) => {
      told.push({ path: req.path, ...delivery });
      for (const { count, resolve } of waiting) if (told.length >= count) resolve();
    });
    started.resolve();
    next();
  });
  for (const [path, handler] of Object.entries(routes)) app.all(path, handler);
  const server = await listen(app);
  return {
    ...server,
    told,
    responses,
    started: started.promise,
    tells: (count: number) =>
      new Promise<void>((resolve) => {
        if (told.length >= count) resolve();
        else waiting.push({ count, resolve });
      }),
  };
}

const complete = { extent: "complete", cutBy: null, status: 200 };

describe("a response that ends normally", () => {
  test.each([
    ["GET", "/text", complete],
    ["POST", "/text", complete],
    ["HEAD", "/text", complete],
    ["GET", "/empty", { ...complete, status: 204 }],
    ["GET", "/cached", { ...complete, status: 304 }],
    ["GET", "/broken", { ...complete, status: 500 }],
    ["GET", "/stream", complete],
  ])("%s %s is complete", async (method, path, expected) => {
    const app = await watched({
      "/text": (_req, res) => void res.send("text"),
      "/empty": (_req, res) => void res.status(204).end(),
      "/cached": (_req, res) => void res.status(304).end(),
      "/broken": () => {
        throw new Error("broken");
      },
      "/stream": (_req, res) => {
        res.write("a");
        setImmediate(() => res.end("b"));
      },
    });
    const client = await connect(app.port);
    client.send(`${method} ${path}`);
    await app.tells(1);
    expect(app.told).toEqual([{ path, ...expected }]);
  });

  test("with Connection: close it is complete", async () => {
    const app = await watched({ "/": (_req, res) => void res.send("text") });
    const client = await connect(app.port, { Connection: "close" });
    client.send("GET /");
    await once(client.socket, "close");
    expect(app.told).toEqual([{ path: "/", ...complete }]);
  });

  test("end() called twice is told once, and its error stays the application's", async () => {
    const app = await watched({
      "/": (_req, res) => {
        res.on("error", () => {});
        res.end("a");
        res.end("b");
      },
    });
    const client = await connect(app.port);
    client.send("GET /");
    await app.tells(1);
    await client.received("\r\n\r\na");
    expect(app.told).toEqual([{ path: "/", ...complete }]);
    expect(app.responses.get("/")?.listenerCount("error")).toBe(1);
  });

  test("a request that its handler destroys after reading it does not end the delivery", async () => {
    const app = await watched({
      "/": (req, res) => {
        req.on("close", () => setImmediate(() => res.end("still here")));
        req.resume().on("end", () => req.destroy());
      },
    });
    const client = await connect(app.port);
    client.send("GET /");
    await client.received("still here");
    await app.tells(1);
    expect(app.told).toEqual([{ path: "/", ...complete }]);
  });

  test("leaves no listener behind", async () => {
    const app = await watched({ "/": (_req, res) => void res.send("text") });
    const bare = express().get("/", (_req, res) => void res.send("text"));
    const bareResponse = deferred<Response>();
    const bareServer = await listen((req, res) => {
      bareResponse.resolve(res as Response);
      bare(req, res);
    });
    for (const { port } of [app, bareServer]) {
      const client = await connect(port);
      client.send("GET /");
      await client.received("text");
    }
    await app.tells(1);
    const ours = app.responses.get("/") as Response;
    const theirs = await bareResponse.promise;
    for (const event of ["finish", "close", "socket", "error"]) {
      expect([event, ours.listenerCount(event)]).toEqual([event, theirs.listenerCount(event)]);
    }
    expect(ours.req.listenerCount("close")).toBe(theirs.req.listenerCount("close"));
  });
});

describe("a client that leaves", () => {
  const ways: [string, (socket: Socket) => void][] = [
    ["ends its side", (socket) => void socket.end()],
    ["closes the socket", (socket) => void socket.destroy()],
    ["resets the connection", (socket) => void socket.resetAndDestroy()],
  ];

  describe.each(ways)("%s", (_name, leave) => {
    test("before anything was written: nothing delivered", async () => {
      const app = await watched({ "/": () => {} });
      const client = await connect(app.port);
      client.send("GET /");
      await app.started;
      leave(client.socket);
      await app.tells(1);
      expect(app.told).toEqual([{ path: "/", extent: "none", cutBy: "client", status: 200 }]);
      app.responses.get("/")?.end("late");
      await new Promise(setImmediate);
      expect(app.told).toHaveLength(1);
    });

    test("after the head alone: nothing delivered", async () => {
      const app = await watched({ "/": (_req, res) => res.flushHeaders() });
      const client = await connect(app.port);
      client.send("GET /");
      await client.received("\r\n\r\n");
      leave(client.socket);
      await app.tells(1);
      expect(app.told[0]).toMatchObject({ extent: "none", cutBy: "client" });
    });

    test("in mid-stream: partial", async () => {
      const app = await watched({ "/": (_req, res) => void res.write("data: 1\n\n") });
      const client = await connect(app.port);
      client.send("GET /");
      await client.received("data: 1");
      leave(client.socket);
      await app.tells(1);
      expect(app.told[0]).toMatchObject({ extent: "partial", cutBy: "client" });
    });

    test("while 50 MB wait for it: partial, though Node says finish", async () => {
      const finished = deferred();
      const app = await watched({
        "/": (_req, res) => {
          res.once("finish", finished.resolve);
          res.end(Buffer.alloc(50_000_000));
        },
      });
      const client = await connect(app.port);
      client.socket.pause();
      client.send("GET /");
      await app.started;
      leave(client.socket);
      // Ending its side alone leaves a client that could still read.
      setImmediate(() => client.socket.destroy());
      await finished.promise;
      await app.tells(1);
      expect(app.told).toEqual([{ path: "/", extent: "partial", cutBy: "client", status: 200 }]);
    });

    test.each([
      ["before the last byte of a body of known length", 59_999],
      ["with all bytes of a known length, before end()", 60_000],
    ])("%s: partial", async (_when, written) => {
      const app = await watched({
        "/": (_req, res) => {
          res.setHeader("Content-Length", 60_000);
          res.write("x".repeat(written));
        },
      });
      const client = await connect(app.port);
      client.send("GET /");
      await client.received("x".repeat(written));
      leave(client.socket);
      await app.tells(1);
      expect(app.told[0]).toMatchObject({ extent: "partial", cutBy: "client" });
    });
  });

  test("with requests pipelined: also those are told that emit neither finish nor close", async () => {
    const app = await watched({
      "/first": () => {},
      "/second": (_req, res) => void res.send("second"),
      "/third": (_req, res) => void res.send("third"),
    });
    const client = await connect(app.port);
    client.send("GET /first", "GET /second", "GET /third");
    await app.started;
    client.socket.destroy();
    await app.tells(3);
    expect(app.told).toEqual(
      ["/first", "/second", "/third"].map((path) => ({
        path,
        extent: "none",
        cutBy: "client",
        status: 200,
      })),
    );
  });

  test("with requests pipelined and answered: the bytes of one are not another's", async () => {
    const gate = deferred();
    const app = await watched({
      "/first": (_req, res) => void gate.promise.then(() => res.send("first")),
      "/second": (_req, res) => void res.send("second"),
      "/third": (_req, res) => res.flushHeaders(),
    });
    const client = await connect(app.port);
    client.send("GET /first", "GET /second", "GET /third");
    await app.started;
    gate.resolve();
    await client.received("second");
    await app.tells(2);
    client.socket.destroy();
    await app.tells(3);
    expect(app.told).toEqual([
      { path: "/first", ...complete },
      { path: "/second", ...complete },
      { path: "/third", extent: "none", cutBy: "client", status: 200 },
    ]);
  });

  test("on a socket that carried another response before: its bytes do not count", async () => {
    const second = deferred();
    const app = await watched({
      "/first": (_req, res) => void res.send("x".repeat(1000)),
      "/second": () => second.resolve(),
    });
    const client = await connect(app.port);
    client.send("GET /first");
    await app.tells(1);
    client.send("GET /second");
    await second.promise;
    client.socket.end();
    await app.tells(2);
    expect(app.told[1]).toMatchObject({ path: "/second", extent: "none" });
  });

  test.each([
    ["garbage", "X X X\r\n\r\n"],
    ["a head that is too large", `GET / HTTP/1.1\r\nA: ${"a".repeat(20_000)}\r\n`],
  ])("sends %s after it has read enough: it was the client that cut", async (_name, bytes) => {
    const app = await watched({ "/": (_req, res) => void res.write("data: 1\n\n") });
    const client = await connect(app.port);
    client.send("GET /");
    await client.received("data: 1");
    client.socket.write(bytes);
    await app.tells(1);
    expect(app.told[0]).toMatchObject({ extent: "partial", cutBy: "client", status: 200 });
  });

  test("sends garbage along with its request: it was the client that cut", async () => {
    const answered = deferred();
    const app = await watched({
      "/": (_req, res) => {
        res.write("all of it");
        answered.resolve();
      },
    });
    const client = await connect(app.port);
    client.socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\nX X X\r\n\r\n");
    await answered.promise;
    await app.tells(1);
    expect(app.told[0]).toMatchObject({ cutBy: "client", status: 200 });
  });

  test("stands still until the server's timeout: it was the client that cut", async () => {
    const app = await watched({
      "/": (req, res) => {
        req.socket.setTimeout(50);
        res.end(Buffer.alloc(50_000_000));
      },
    });
    const client = await connect(app.port);
    client.socket.pause();
    client.send("GET /");
    await app.tells(1);
    expect(app.told[0]).toMatchObject({ extent: "partial", cutBy: "client" });
  });

  test("a hundred pipelined requests cause no warning about listeners", async () => {
    const warnings: Error[] = [];
    const warned = (warning: Error) => warnings.push(warning);
    process.on("warning", warned);
    const app = await watched({ "/": (_req, res) => void setImmediate(() => res.send("x")) });
    const client = await connect(app.port);
    client.send(...Array.from({ length: 100 }, () => "GET /"));
    await app.tells(100);
    process.off("warning", warned);
    expect(warnings).toEqual([]);
  });
});

describe("a server that cuts", () => {
  const upstream = Object.assign(new Error("upstream died"), {
    code: "ECONNRESET",
    syscall: "read",
  });
  const ways: [string, Handler][] = [
    ["a handler fails in mid-stream", (_req, _res, next) => next(new Error("broken"))],
    ["a handler destroys the response", (_req, res) => void res.destroy()],
    ["a handler passes on its upstream's error", (_req, res) => void res.destroy(upstream)],
    ["a handler destroys the socket", (req) => void req.socket.destroy()],
    ["a handler writes nothing until the timeout", (req) => void req.socket.setTimeout(20)],
  ];
  test.each(ways)("%s", async (_name, cut) => {
    const gate = deferred();
    const app = await watched({
      "/": (req, res, next) => {
        res.write("data: 1\n\n");
        void gate.promise.then(() => cut(req, res, next));
      },
    });
    const client = await connect(app.port);
    client.send("GET /");
    await client.received("data: 1");
    gate.resolve();
    await app.tells(1);
    expect(app.told).toEqual([{ path: "/", extent: "partial", cutBy: "server", status: 200 }]);
  });
});
