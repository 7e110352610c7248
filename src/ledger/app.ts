import { randomUUID } from "node:crypto";
import express, { type NextFunction, type Request, type Response } from "express";
import { type Answer, problem } from "./answers.ts";
import { createConduct, type Parts } from "./conduct.ts";
import type { createEndpoints } from "./endpoints.ts";
import type { Endpoint } from "./faults.ts";
import { type Keys, noBuyer, notOwner, type Rights } from "./keys.ts";
import type { createX402 } from "./x402/endpoints.ts";

/** Routes to endpoints. Paths are those of Nevermined's API. Works on Express 4 and 5. */
export function createApp(
  endpoints: ReturnType<typeof createEndpoints>,
  x402: ReturnType<typeof createX402>,
  judge: Keys["judge"],
  parts: Parts,
): express.Express {
  const { serve, carryOut, send } = createConduct(parts);
  const app = express();
  app.disable("x-powered-by");

  app.use((req, res, next) => {
    const correlationId = req.get("x-correlation-id") || randomUUID();
    res.locals.correlationId = correlationId;
    res.setHeader("x-correlation-id", correlationId);
    next();
  });

  const api = express.Router();
  // Whatever its type says, a body is JSON or a mistake.
  const parse = express.json({ limit: 65_536, type: () => true });
  const guard = (endpoint: Endpoint) => (req: Request, res: Response, next: NextFunction) => {
    const rights = judge(req.get("authorization"), res.locals.correlationId);
    if ("refused" in rights) return send(endpoint, res, rights.refused);
    res.locals.rights = rights;
    next();
  };
  /** What was read of a request that may be carried out; of others the refusal has been sent. */
  function allowed<Read extends { planId: string }>(
    endpoint: Endpoint,
    read: Read | { refused: Answer },
    res: Response,
  ): Read | undefined {
    if ("refused" in read) return void send(endpoint, res, read.refused);
    const rights: Rights = res.locals.rights;
    if (rights.owns(read.planId)) return read;
    return void send(endpoint, res, notOwner(read.planId, res.locals.correlationId));
  }
  const tasks = {
    redeem: ["/protocol/plans/redeem", endpoints.redeem],
    mint: ["/protocol/plans/mint", endpoints.mint],
    settle: ["/x402/settle", x402.settle],
  } as const;
  for (const endpoint of ["redeem", "mint", "settle"] as const) {
    const [path, readTask] = tasks[endpoint];
    api.post(path, guard(endpoint), parse, (req, res) => {
      const read = readTask(req.body ?? {}, res.locals.correlationId);
      const task = allowed(endpoint, read, res);
      if (task) void carryOut(endpoint, task, req, res);
    });
  }
  api.post("/x402/verify", guard("verify"), parse, (req, res) => {
    const read = x402.verify(req.body ?? {}, res.locals.correlationId);
    const question = allowed("verify", read, res);
    if (question) void serve("verify", req, res, { apply: question.ask });
  });
  api.post("/x402/permissions", guard("permissions"), parse, (req, res) => {
    const { correlationId } = res.locals;
    const { holderAddress }: Rights = res.locals.rights;
    if (holderAddress === undefined) return send("permissions", res, noBuyer(correlationId));
    const apply = () => x402.permissions(req.body ?? {}, holderAddress, correlationId);
    void serve("permissions", req, res, { apply });
  });
  api.get("/protocol/plans/:planId/balance/:holderAddress", (req, res) => {
    const { planId, holderAddress } = req.params;
    const apply = () => endpoints.balance(planId, holderAddress, res.locals.correlationId);
    void serve("balance", req, res, { apply });
  });
  app.use("/api/v1", api);

  app.use((req, res) => {
    const message = `Cannot ${req.method} ${req.originalUrl}`;
    send("other", res, problem(404, "BCK.HTTP.404", message, res.locals.correlationId));
  });
  app.use((error: HttpError, _req: Request, res: Response, _next: NextFunction) => {
    const status = error.status ?? 500;
    const message =
      said[error.type ?? ""] ?? `The request cannot be read: HTTP ${status}. Send JSON in UTF-8.`;
    send("other", res, problem(status, `BCK.HTTP.${status}`, message, res.locals.correlationId));
  });
  return app;
}

/** What Express and its body parser pass on. */
interface HttpError extends Error {
  status?: number;
  type?: string;
}

/** In our words: the parser's own message quotes the body, and a body holds a proof. */
const said: Readonly<Record<string, string>> = {
  "entity.parse.failed": "The body is not JSON.",
  "entity.too.large": "The body is larger than 64 KiB.",
};
