/** Prices by tokens behind a real meter, over real sockets. */

import http from "node:http";
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import compression from "compression";
import express, { type RequestHandler } from "express";
import { describe, expect, test } from "vitest";
import type { CreditMeterOptions } from "../../src/index.ts";
import { onAbort, tokens, usage } from "../../src/usage/index.ts";
import { meteredApi, payment } from "../support/api.ts";
import { connect, deferred, listen } from "../support/server.ts";
import { bodies, events } from "./bodies.ts";

const rates = { input: 1, output: 10, cachedInput: 0.5 };
const chunks = [
  { id: "1", model: "gpt-5.1", choices: [{ delta: { content: "Grüß " } }], usage: null },
  { id: "1", choices: [{ delta: { content: "Gott" } }], usage: null },
  { id: "1", choices: [], usage: { prompt_tokens: 1_000, completion_tokens: 300 } },
].map((data) => events([[undefined, data]]));
const used = { inputTokens: 1_000, outputTokens: 300, model: "gpt-5.1" };
const plain = JSON.stringify({
  model: "gpt-5.1",
  usage: { prompt_tokens: 1_000, completion_tokens: 300 },
});

async function api(
  handler: RequestHandler,
  options: Partial<CreditMeterOptions> & {
    price?: Parameters<typeof tokens>[0];
    before?: RequestHandler;
    after?: RequestHandler;
  } = {},
) {
  const { price = rates, before, after, ...rest } = options;
  const routes = { "POST /": { hold: 50, price: tokens(price) } };
  return meteredApi({ routes, ...rest }, (app, meter) => {
    if (before) app.use(before);
    app.use(meter);
    if (after) app.use(after);
    app.post("/", handler);
  });
}

/** Everything of the answer as it goes over the wire. */
async function raw(url: string, headers: Record<string, string> = {}) {
  return new Promise<{ status: number; headers: http.IncomingHttpHeaders; chunks: string[] }>(
    (resolve, reject) => {
      const req = http.request(url, { method: "POST", headers: { ...payment, ...headers } });
      req.once("error", reject);
      req.once("response", (res) => {
        const parts: string[] = [];
        res.on("data", (chunk: Buffer) => parts.push(chunk.toString("base64")));
        res.once("end", () => {
          const { date: _, "redemption-id": __, ...kept } = res.headers;
          resolve({ status: res.statusCode ?? 0, headers: kept, chunks: parts });
        });
      });
      req.end();
    },
  );
}

const handlers: Record<string, RequestHandler> = {
  "res.write": (_req, res) => {
    res.type("text/event-stream");
    for (const chunk of chunks) res.write(chunk);
    res.end();
  },
  "res.write with Buffers, cut in the middle of letters": (_req, res) => {
    res.type("text/event-stream");
    const bytes = Buffer.from(chunks.join(""));
    for (let at = 0; at < bytes.length; at += 7) res.write(bytes.subarray(at, at + 7));
    res.end();
  },
  "res.write with an encoding": (_req, res) => {
    res.type("text/event-stream");
    res.write(Buffer.from(chunks.join("")).toString("hex"), "hex");
    res.end();
  },
  "res.end alone": (_req, res) => void res.type("json").end(plain),
  "res.json": (_req, res) => void res.json(JSON.parse(plain)),
  "res.send": (_req, res) => void res.type("json").send(plain),
  "writeHead with a list": (_req, res) => {
    res.writeHead(200, ["Content-Type", "text/event-stream"] as never);
    res.end(chunks.join(""));
  },
  "a stream that is piped": (_req, res) => {
    res.type("text/event-stream");
    Readable.from(chunks.map((chunk) => Buffer.from(chunk))).pipe(res);
  },
  "a web stream": (_req, res) => {
    res.type("text/event-stream");
    const body = new Response(chunks.join("")).body;
    Readable.fromWeb(body as never).pipe(res);
  },
  "gzip that is passed through": (_req, res) => {
    res.type("json").set("Content-Encoding", "gzip").end(gzipSync(plain));
  },
};

describe.each(Object.entries(handlers))("%s", (_name, handler) => {
  test("is priced by its tokens, and noted", async () => {
    const { url, meter, ledger, settled, lines } = await api(handler);
    expect((await raw(url)).status).toBe(200);
    await meter.flush();
    expect(ledger.burns()).toMatchObject([{ amount: 4 }]);
    expect(settled).toMatchObject([{ status: "completed", usage: used }]);
    const { redemptions } = await meter.redemptions.list();
    expect(redemptions).toMatchObject([{ usage: used }]);
    expect(lines.find(({ fields }) => fields.redemptionId)?.fields.usage).toEqual(used);
  });

  test("goes over the wire as without a meter", async () => {
    const { url } = await api(handler);
    const app = express();
    app.post("/", handler);
    const bare = await listen(app);
    const ours = await raw(url);
    const theirs = await raw(bare.url);
    expect({ ...ours, chunks: ours.chunks.join("|") }).toEqual({
      ...theirs,
      chunks: theirs.chunks.join("|"),
    });
  });

  test.each([
    ["before", { before: compression({ threshold: 0 }) }],
    ["after", { after: compression({ threshold: 0 }) }],
  ])("with compression mounted %s the meter", async (_where, mounted) => {
    const { url, meter, ledger } = await api(handler, mounted);
    const { headers } = await raw(url, { "Accept-Encoding": "gzip" });
    expect(headers["content-encoding"]).toBe("gzip");
    await meter.flush();
    expect(ledger.burns()).toMatchObject([{ amount: 4 }]);
  });
});

test("what write returns, and its callbacks, are the stream's own", async () => {
  const returned: unknown[] = [];
  const called: string[] = [];
  const { url, meter } = await api((_req, res) => {
    res.type("text/event-stream");
    returned.push(res.write(chunks[0], () => called.push("first")));
    returned.push(res.write("x".repeat(1_000_000), "utf8", () => called.push("second")));
    returned.push(res.end(chunks[2], () => called.push("end")) === res);
  });
  await raw(url);
  await meter.flush();
  expect(returned).toEqual([true, false, true]);
  expect(called).toEqual(["first", "second", "end"]);
});

describe("an answer without usage", () => {
  const silent: RequestHandler = (_req, res) => void res.json({ model: "quiet", choices: [] });

  test("is left to an operator, with its proof, and costs nothing by itself", async () => {
    const { url, meter, ledger, settled } = await api(silent);
    await raw(url);
    await meter.flush();
    expect(ledger.countBurns()).toBe(0);
    expect(settled).toMatchObject([
      {
        status: "unresolved",
        error: { reason: "price-error", message: expect.stringContaining("usage.report") },
      },
    ]);
    const id = settled[0]?.redemptionId ?? "";
    await meter.redemptions.supply(id, 7, { by: "ada" });
    await meter.flush();
    await expect.poll(() => ledger.burns()).toMatchObject([{ amount: 7 }]);
  });

  test.each([
    ["a number", 6, 6],
    [
      "a function of what was seen",
      ({ bytes, model }: { bytes: number; model: string | undefined }) =>
        model === "quiet" ? bytes : 1,
      30,
    ],
  ])("costs what `missing` says: %s", async (_name, missing, amount) => {
    const { url, meter, ledger } = await api(silent, { price: { ...rates, missing } });
    await raw(url);
    await meter.flush();
    expect(ledger.burns()).toMatchObject([{ amount }]);
  });

  test("costs what the handler reports, which wins over what was read", async () => {
    const { url, meter, ledger, settled } = await api((_req, res) => {
      usage.report(res, { inputTokens: 0, outputTokens: 200, model: "mine" });
      res.type("json").send(plain);
    });
    await raw(url);
    await meter.flush();
    expect(ledger.burns()).toMatchObject([{ amount: 2 }]);
    expect(settled).toMatchObject([
      { usage: { inputTokens: 0, outputTokens: 200, model: "mine" } },
    ]);
  });

  test("a reported zero is a zero", async () => {
    const { url, meter, ledger, settled } = await api((_req, res) => {
      usage.report(res, { inputTokens: 0, outputTokens: 0 });
      res.json({});
    });
    await raw(url);
    await meter.flush();
    expect(ledger.countBurns()).toBe(0);
    expect(settled).toMatchObject([{ status: "skipped", error: { reason: "price-zero" } }]);
  });
});

test("the route's own price by tokens replaces the table's", async () => {
  const { url, meter, ledger } = await meteredApi({ routes: { "POST /": 1 } }, (app, meter) => {
    app.use(meter);
    app.post(
      "/",
      meter.charge({ hold: 20, price: tokens(rates) }),
      handlers["res.json"] as RequestHandler,
    );
  });
  await raw(url);
  await meter.flush();
  expect(ledger.burns()).toMatchObject([{ amount: 4 }]);
});

describe("an embedding, and an answer that a cache helped", () => {
  test.each([
    [
      "OpenAI's embeddings, which have no completion",
      { object: "list", model: "embed-1", usage: { prompt_tokens: 2_000, total_tokens: 2_000 } },
      2,
    ],
    [
      "DeepSeek's cache hits",
      {
        model: "deepseek",
        usage: { prompt_tokens: 4_000, completion_tokens: 0, prompt_cache_hit_tokens: 4_000 },
      },
      2,
    ],
  ])("are charged by the rates: %s", async (_name, body, amount) => {
    const { url, meter, ledger } = await api((_req, res) => void res.json(body));
    await raw(url);
    await meter.flush();
    expect(ledger.burns()).toMatchObject([{ amount }]);
  });
});

describe("an answer whose price nobody knows", () => {
  test("keeps nothing of the holder's credits on hold", async () => {
    const { url, meter, settled } = await meteredApi(
      { routes: { "POST /": { hold: 50, price: tokens(rates) } } },
      (app, meter) => {
        app.use(meter);
        app.post("/", (_req, res) => void res.json({}));
      },
      { credits: 100 },
    );
    for (let count = 0; count < 5; count += 1) expect((await raw(url)).status).toBe(200);
    await meter.flush();
    expect(settled).toHaveLength(5);
    expect(meter.health().exposure).toBe(0);
  });
});

describe("a buyer who hangs up in mid-stream", () => {
  test("pays what was reported until then, and the upstream is told to stop", async () => {
    const stopped = deferred();
    const { port, meter, ledger } = await api((_req, res) => {
      res.type("text/event-stream");
      res.write(chunks[0]);
      onAbort(res).addEventListener("abort", () => {
        usage.report(res, { inputTokens: 1_000, outputTokens: 100, model: "gpt-5.1" });
        res.end();
        stopped.resolve();
      });
    });
    const client = await connect(port, payment);
    client.send("POST /");
    await client.received("data:");
    client.socket.destroy();
    await stopped.promise;
    await meter.flush();
    expect(ledger.burns()).toMatchObject([{ amount: 2 }]);
  });

  test("pays what the stream said", async () => {
    const anthropic = bodies.find(({ name }) => name.includes("Anthropic message in events"));
    const { port, meter, ledger, settled } = await api((_req, res) => {
      res.type("text/event-stream");
      res.write(anthropic?.body.slice(0, 500));
      onAbort(res).addEventListener("abort", () => res.end());
    });
    const client = await connect(port, payment);
    client.send("POST /");
    await client.received("message_start");
    client.socket.destroy();
    await meter.flush();
    expect(settled).toMatchObject([{ usage: { inputTokens: 425, outputTokens: 1 } }]);
    // 25 fresh, 400 from the cache, 1 written: 0.025 + 0.2 + 0.01 credits.
    expect(ledger.burns()).toMatchObject([{ amount: 1 }]);
  });

  test("and with the README's handler, for what was passed on until then", async () => {
    const { url: upstream } = await listen((_req, res) => {
      res.writeHead(200, { "content-type": "text/event-stream" });
      for (const chunk of chunks.slice(0, 2)) res.write(chunk);
    });
    const handler: RequestHandler = async (_req, res) => {
      const signal = onAbort(res);
      const answer = await fetch(upstream, { signal });
      res.type("text/event-stream");
      try {
        for await (const part of answer.body ?? []) res.write(part);
      } catch (error) {
        if (!signal.aborted) throw error;
      }
      res.end();
    };
    const missing = ({ events }: { events: number }) => 1 + Math.ceil(events * 0.0006);
    const { port, meter, ledger } = await api(handler, { price: { ...rates, missing } });
    const client = await connect(port, payment);
    client.send("POST /");
    await client.received("Gott");
    client.socket.destroy();
    await meter.flush();
    expect(ledger.burns()).toMatchObject([{ amount: 2 }]);
  });

  test("else what `missing` says", async () => {
    const { port, meter, settled } = await api((_req, res) => {
      res.type("text/event-stream");
      res.write(chunks[0]);
      onAbort(res).addEventListener("abort", () => res.end());
    });
    const client = await connect(port, payment);
    client.send("POST /");
    await client.received("data:");
    client.socket.destroy();
    await meter.flush();
    expect(settled).toMatchObject([{ status: "unresolved", error: { reason: "price-error" } }]);
  });
});

test("onAbort is quiet after an answer that was whole, and loud at once after one that was cut", async () => {
  const signals: AbortSignal[] = [];
  const { url, port } = await api((_req, res) => {
    signals.push(onAbort(res));
    expect(onAbort(res)).toBe(signals.at(-1));
    if (signals.length === 1) res.json({});
    else res.write("data: 1\n\n");
    res.once("close", () => signals.push(onAbort(res)));
  });
  await raw(url);
  await expect.poll(() => signals.length).toBe(2);
  expect(signals.map(({ aborted }) => aborted)).toEqual([false, false]);
  const client = await connect(port, payment);
  client.send("POST /");
  await client.received("data: 1");
  client.socket.destroy();
  await expect.poll(() => signals.length).toBe(4);
  await expect
    .poll(() => signals.map(({ aborted }) => aborted))
    .toEqual([false, false, true, true]);
});
