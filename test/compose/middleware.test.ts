/** The meter beside the middleware that most applications have. */

import http from "node:http";
import { gunzipSync } from "node:zlib";
import bodyParser from "body-parser";
import compression from "compression";
import timeout from "connect-timeout";
import cors from "cors";
import express from "express";
import rateLimit from "express-rate-limit";
import session from "express-session";
import helmet from "helmet";
import methodOverride from "method-override";
import morgan from "morgan";
import multer from "multer";
import { pinoHttp } from "pino-http";
import { expect, test } from "vitest";
import { payment, secretProof } from "../support/api.ts";
import { compare } from "./harness.ts";

const long = "word ".repeat(4_000);
const json = { "content-type": "application/json" };

test("body-parser: parsed bodies, and bodies that do not parse", async () => {
  await compare({
    build(app, { meter }) {
      app.use(bodyParser.json({ limit: "10kb" }), meter);
      app.post("/echo", (req, res) => res.json(req.body));
    },
    options: { routes: { "POST /echo": 2 } },
    calls: [
      { method: "POST", path: "/echo", headers: json, body: '{"a":1}' },
      { method: "POST", path: "/echo", headers: json, body: '{"a":' },
      { method: "POST", path: "/echo", headers: json, body: JSON.stringify({ long }) },
      { method: "POST", path: "/echo", headers: json, body: '{"b":2}' },
    ],
    charged: [2, 2],
  });
});

test.each([
  ["in front", true],
  ["behind", false],
])("compression %s: whole, streamed, flushed, not modified", async (_where, isInFront) => {
  const { answers } = await compare({
    build(app, { meter }) {
      const all = isInFront ? [compression(), meter] : [meter, compression()];
      app.use(...(all as [express.RequestHandler]));
      app.get("/whole", (_req, res) => res.type("text").send(long));
      app.get("/stream", async (_req, res) => {
        res.type("text");
        for (let index = 0; index < 5; index += 1) {
          res.write(long);
          (res as unknown as { flush(): void }).flush();
          await new Promise((resolve) => setImmediate(resolve));
        }
        res.end();
      });
    },
    options: { routes: { "GET /whole": 1, "GET /stream": 3 } },
    calls: [
      { path: "/whole", headers: { "accept-encoding": "gzip" } },
      { path: "/whole", headers: { "accept-encoding": "identity" } },
      { path: "/stream", headers: { "accept-encoding": "gzip" } },
      { method: "HEAD", path: "/whole", headers: { "accept-encoding": "gzip" } },
    ],
    charged: [1, 1, 3],
  });
  expect(gunzipSync(answers[2]?.body as Buffer).toString()).toBe(long.repeat(5));
});

test("helmet", async () => {
  await compare({
    build(app, { meter }) {
      app.use(helmet(), meter);
      app.get("/page", (_req, res) => res.send("<p>paid</p>"));
    },
    options: { routes: { "GET /page": 1 } },
    calls: [{ path: "/page" }, { path: "/none" }],
    charged: [1],
  });
});

test("cors in front: a preflight is answered and costs nothing", async () => {
  await compare({
    build(app, { meter }) {
      app.use(cors({ exposedHeaders: ["Redemption-Id"] }), meter);
      app.all("/paid", (_req, res) => res.json({}));
    },
    options: { routes: { "ALL /paid": 1 } },
    calls: [
      {
        method: "OPTIONS",
        path: "/paid",
        headers: { origin: "https://a.example", "access-control-request-method": "POST" },
        pays: false,
      },
      { method: "POST", path: "/paid", headers: { origin: "https://a.example" } },
    ],
    charged: [1],
  });
});

test("express-session: its cookie is set, and its late write does not count twice", async () => {
  await compare({
    build(app, { meter }) {
      app.use(session({ secret: "for a test", resave: false, saveUninitialized: true }), meter);
      app.get("/visit", (req, res) => {
        (req.session as unknown as { visits: number }).visits = 1;
        res.json({ visits: 1 });
      });
    },
    options: { routes: { "GET /visit": 1 } },
    calls: [{ path: "/visit" }, { path: "/visit" }],
    charged: [1, 1],
    varying: ["set-cookie"],
  });
});

test("pino-http and morgan in front: with the redaction that the README names, no proof in the log", async () => {
  const written: string[] = [];
  const sink = { write: (line: string) => void written.push(line) };
  await compare({
    build(app, { meter }) {
      app.use(
        pinoHttp({ redact: ['req.headers["nevermined-proof"]'] }, sink as never),
        morgan("combined", { stream: sink }),
        meter,
      );
      app.get("/paid", (_req, res) => res.json({}));
    },
    options: { routes: { "GET /paid": 1 } },
    calls: [{ path: "/paid" }],
    charged: [1],
  });
  expect(written.length).toBeGreaterThanOrEqual(4);
  expect(written.join("")).not.toContain(secretProof);
});

test("express-rate-limit in front: a limited request costs nothing", async () => {
  await compare({
    build(app, { meter }) {
      app.use(rateLimit({ windowMs: 60_000, limit: 2 }), meter);
      app.get("/paid", (_req, res) => res.json({}));
    },
    options: { routes: { "GET /paid": 1 } },
    calls: [{ path: "/paid" }, { path: "/paid" }, { path: "/paid" }],
    charged: [1, 1],
    varying: ["x-ratelimit-reset", "ratelimit-reset", "ratelimit", "retry-after"],
  });
});

test("multer behind: an upload is read by the handler", async () => {
  const boundary = "a-boundary";
  const file = (text: string) =>
    [
      `--${boundary}`,
      'Content-Disposition: form-data; name="file"; filename="a.txt"',
      "Content-Type: text/plain",
      "",
      text,
      `--${boundary}--`,
      "",
    ].join("\r\n");
  const headers = { "content-type": `multipart/form-data; boundary=${boundary}` };
  await compare({
    build(app, { meter }) {
      app.use(meter);
      const upload = multer({ limits: { fileSize: 20_000 } });
      app.post("/files", upload.single("file"), (req, res) => {
        res.json({ size: req.file?.size });
      });
    },
    options: { routes: { "POST /files": 4 } },
    calls: [
      { method: "POST", path: "/files", headers, body: file("short") },
      { method: "POST", path: "/files", headers, body: file("x".repeat(30_000)) },
    ],
    charged: [4],
  });
});

test("connect-timeout: what it answers in the handler's place is not charged", async () => {
  await compare({
    build(app, { meter }) {
      app.use(timeout("20ms"), meter);
      app.get("/slow", () => {});
      app.get("/quick", (_req, res) => res.json({}));
    },
    options: { routes: { "GET /slow": 1, "GET /quick": 1 } },
    calls: [{ path: "/slow" }, { path: "/quick" }],
    charged: [1],
  });
});

test("method-override in front: the method that it sets is priced", async () => {
  await compare({
    build(app, { meter }) {
      app.use(methodOverride("x-http-method-override"), meter);
      app.delete("/item", (_req, res) => res.sendStatus(204));
      app.post("/item", (_req, res) => res.json({}));
    },
    options: { routes: { "DELETE /item": 5, "POST /item": 1 } },
    calls: [
      { method: "POST", path: "/item", headers: { "x-http-method-override": "DELETE" } },
      { method: "POST", path: "/item" },
    ],
    charged: [5, 1],
  });
});

test("apicache in front of the meter: what comes from the cache costs nothing", async () => {
  await compare({
    async build(app, { meter }) {
      const { default: apicache } = await import("apicache" as string);
      const cache = apicache.newInstance({ appendKey: () => "", respectCacheControl: false });
      app.use(cache.middleware("1 minute"), meter);
      app.get("/answer", (_req, res) => res.json({ answer: 42 }));
    },
    options: { routes: { "GET /answer": 2 } },
    calls: [{ path: "/answer" }, { path: "/answer" }],
    charged: [2],
    varying: ["cache-control", "apicache-version", "apicache-store"],
  });
});

test("a server that http-shutdown watches: every response is charged, the last one too", async () => {
  const { default: withShutdown } = await import("http-shutdown" as string);
  await compare({
    build(app, { meter }) {
      app.use(meter);
      app.get("/paid", (_req, res) => res.json({}));
    },
    serve: (app) => withShutdown(http.createServer(app)),
    options: { routes: { "GET /paid": 1 } },
    calls: [{ path: "/paid" }, { path: "/paid" }],
    charged: [1, 1],
  });
});

test("routers in routers, each with a meter of its own mount: one charge a request", async () => {
  await compare({
    build(app, { meter, charge }) {
      const outer = express.Router();
      const inner = express.Router();
      for (let index = 0; index < 12; index += 1) inner.use(meter);
      inner.get("/thing/:id", charge(3), (req, res) => res.json(req.params));
      outer.use("/inner", meter, inner);
      app.use(meter);
      app.use("/outer", outer);
    },
    options: { routes: { "GET /outer/inner/thing/:id": 1 } },
    calls: [{ path: "/outer/inner/thing/7" }, { path: "/outer/inner/nothing" }],
    charged: [3],
  });
});

test("nobody reads the payment's headers but the meter: they stay on the request", async () => {
  const { answers } = await compare({
    build(app, { meter }) {
      app.use(meter);
      app.get("/headers", (req, res) => res.json(Object.keys(req.headers)));
    },
    options: { routes: { "GET /headers": 1 } },
    calls: [{ path: "/headers" }],
    charged: [1],
  });
  expect(answers[0]?.body.toString()).toContain(Object.keys(payment)[0]?.toLowerCase());
});
