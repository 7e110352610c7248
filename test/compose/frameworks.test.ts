/** Frameworks that answer through Express: the meter stands in front of them. */

import "reflect-metadata";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { Body, Controller, Get, HttpException, Module, Post } from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import { ExpressAdapter } from "@nestjs/platform-express";
import { initTRPC, TRPCError } from "@trpc/server";
import { createExpressMiddleware } from "@trpc/server/adapters/express";
import { simulateReadableStream, streamText } from "ai";
import { MockLanguageModelV3 } from "ai/test";
import express from "express";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { tokens } from "../../src/usage/index.ts";
import { meteredApi, payment } from "../support/api.ts";
import { compare, expectNothingLeft } from "./harness.ts";

const json = { "content-type": "application/json" };

test("tRPC: a row for each procedure; an error of a procedure is free", async () => {
  const t = initTRPC.create();
  const router = t.router({
    greet: t.procedure.query(() => "hello"),
    sum: t.procedure
      .input(z.object({ a: z.number(), b: z.number() }))
      .mutation(({ input }) => input.a + input.b),
    fails: t.procedure.query(() => {
      throw new TRPCError({ code: "BAD_REQUEST" });
    }),
  });
  await compare({
    build(app, { meter }) {
      app.use(meter);
      // A batch calls several procedures under one path, and would get round a row for each of them.
      app.use("/trpc", createExpressMiddleware({ router, allowBatching: false }));
    },
    options: {
      routes: { "GET /trpc/greet": 1, "POST /trpc/sum": 3, "GET /trpc/fails": 5 },
      unlisted: "refuse",
    },
    calls: [
      { path: "/trpc/greet" },
      { method: "POST", path: "/trpc/sum", headers: json, body: '{"a":1,"b":2}' },
      { path: "/trpc/fails" },
    ],
    charged: [1, 3],
  });
});

test("NestJS on Express: controllers, guards' refusals and exceptions", async () => {
  class Answers {
    ask(body: { question: string }) {
      return { answer: `${body.question}?` };
    }
    fail() {
      throw new HttpException("not today", 409);
    }
  }
  // Decorators as the functions that they are: this project's compiler settings have none.
  const method = (name: "ask" | "fail", decorate: MethodDecorator) =>
    decorate(
      Answers.prototype,
      name,
      Object.getOwnPropertyDescriptor(Answers.prototype, name) as PropertyDescriptor,
    );
  method("ask", Post("ask") as MethodDecorator);
  method("fail", Get("fail") as MethodDecorator);
  (Body() as ParameterDecorator)(Answers.prototype, "ask", 0);
  Controller("answers")(Answers);
  class Root {}
  Module({ controllers: [Answers] })(Root);

  await compare({
    async build(app, { meter }) {
      app.use(meter);
      const nest = await NestFactory.create(Root, new ExpressAdapter(app), { logger: false });
      await nest.init();
    },
    options: { routes: { "POST /answers/ask": 2, "GET /answers/fail": 4 } },
    calls: [
      { method: "POST", path: "/answers/ask", headers: json, body: '{"question":"why"}' },
      { path: "/answers/fail" },
      { path: "/answers/none" },
    ],
    charged: [2],
  });
});

test("the MCP SDK: a stateless server; a call is one charge, a free page beside it is none", async () => {
  const { meter, ledger, url } = await meteredApi(
    { routes: { "POST /mcp": 1 } },
    (app, mounted) => {
      app.use(mounted, express.json());
      app.post("/mcp", async (req, res) => {
        const server = new McpServer({ name: "a-server", version: "1.0.0" });
        server.registerTool("add", { inputSchema: { a: z.number() } }, async ({ a }) => ({
          content: [{ type: "text", text: String(a + 1) }],
        }));
        const transport = new StreamableHTTPServerTransport({} as never);
        res.on("close", () => void transport.close());
        await server.connect(transport as never);
        await transport.handleRequest(req, res, req.body);
      });
      app.get("/mcp", (_req, res) => res.sendStatus(405));
    },
  );
  const client = new Client({ name: "a-client", version: "1.0.0" });
  await client.connect(
    new StreamableHTTPClientTransport(new URL(`${url}/mcp`), {
      requestInit: { headers: payment },
    }) as never,
  );
  onTestFinished(() => client.close());
  const answer = await client.callTool({ name: "add", arguments: { a: 41 } });
  expect(answer.content).toEqual([{ type: "text", text: "42" }]);
  await client.close();
  await meter.flush();
  // initialize, the notification that it is done (202 with an empty body), and the call.
  expect(ledger.burns().map(({ amount }) => amount)).toEqual([1, 1, 1]);
  expectNothingLeft(meter);
});

test("the AI SDK: a UI message stream is delivered chunk for chunk, and priced", async () => {
  const model = () =>
    new MockLanguageModelV3({
      doStream: async () => ({
        stream: simulateReadableStream({
          chunks: [
            { type: "text-start", id: "1" },
            { type: "text-delta", id: "1", delta: "Hello" },
            { type: "text-end", id: "1" },
            {
              type: "finish",
              finishReason: { unified: "stop", raw: undefined },
              usage: {
                inputTokens: { total: 3, noCache: 3, cacheRead: undefined, cacheWrite: undefined },
                outputTokens: { total: 10, text: 10, reasoning: undefined },
              },
            },
          ],
        }),
      }),
    });
  await compare({
    build(app, { meter }) {
      app.use(meter);
      app.post("/chat", (_req, res) => {
        streamText({
          model: model() as never,
          prompt: "Hi",
          onFinish: ({ usage: used }) => {
            res.locals.used = used;
          },
        }).pipeUIMessageStreamToResponse(res, { generateMessageId: () => "m1" } as never);
      });
    },
    options: {
      routes: {
        "POST /chat": { hold: 50, price: (_req, res) => res.locals.used.totalTokens },
      },
    },
    calls: [{ method: "POST", path: "/chat" }],
    charged: [13],
  });
});

test("a stream of OpenAI's kind that an SDK reads is priced by its tokens", async () => {
  const events = [
    {
      id: "c1",
      object: "chat.completion.chunk",
      choices: [{ index: 0, delta: { content: "Hi" } }],
    },
    {
      id: "c1",
      object: "chat.completion.chunk",
      choices: [],
      usage: { prompt_tokens: 1_000, completion_tokens: 2_000, total_tokens: 3_000 },
    },
  ];
  await compare({
    build(app, { meter }) {
      app.use(meter);
      app.post("/v1/chat/completions", (_req, res) => {
        res.type("text/event-stream");
        for (const event of events) res.write(`data: ${JSON.stringify(event)}\n\n`);
        res.end("data: [DONE]\n\n");
      });
    },
    options: {
      routes: {
        "POST /v1/chat/completions": { hold: 50, price: tokens({ input: 1, output: 2 }) },
      },
    },
    calls: [{ method: "POST", path: "/v1/chat/completions" }],
    charged: [5],
  });
});
