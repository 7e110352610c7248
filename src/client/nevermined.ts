/** Nevermined's HTTP API through undici: one attempt at a time, no retries, evidence of writing. */

import type { Dispatcher, Pool } from "undici";
import type { Answer, Charge } from "../redemption.ts";
import { type Exchange, readOutcome } from "./outcome.ts";
import { presentable } from "./presentable.ts";
import { encodeRedeem } from "./wire.ts";

export interface NeverminedClientOptions {
  /** Such as `https://api.sandbox.nevermined.app/api/v1`, without a slash at the end. */
  readonly baseUrl: string;
  /** Path of the redemption endpoint below the base URL. */
  readonly redeemPath: string;
  /** Sent as `Authorization: Bearer …`. */
  readonly apiKey: string;
  /** Sockets at the most. Callers keep no more redemptions on the wire than this. */
  readonly connections: number;
  /** Milliseconds for one attempt in all: connecting, writing, waiting and reading. */
  readonly timeoutMs: number;
  readonly now: () => number;
}

export interface NeverminedClient {
  /** Sends a charge once. Never rejects; `signal` gives up waiting, and says so in the answer. */
  redeem(charge: Charge, signal?: AbortSignal): Promise<Answer>;
  /** Ends the sockets. */
  close(): Promise<void>;
}

/** A reply to a redemption is some 100 bytes; an error body with its hints stays below 4 KiB. */
const replyCapBytes = 64 * 1024;

/**
 * Idle sockets are retired after this many milliseconds, before servers close them under a request
 * (Node's own servers do after 5 s, many proxies sooner). A POST that meets a closing socket fails
 * with `ECONNRESET` after it was written, and nobody can say then whether it was applied.
 */
const idleSocketMs = 1_000;

export function createNeverminedClient(options: NeverminedClientOptions): NeverminedClient {
  const url = new URL(`${options.baseUrl}${options.redeemPath}`);
  let pool: Promise<Pool> | undefined;

  // undici is loaded with the first charge: a program's start does not pay for it.
  const openPool = async () => {
    const undici = await import("undici");
    return new undici.Pool(url.origin, {
      connections: options.connections,
      pipelining: 1,
      keepAliveTimeout: idleSocketMs,
      keepAliveMaxTimeout: idleSocketMs,
      // Below the deadline of the attempt, so that a connection which never comes is told apart.
      connect: { timeout: Math.max(1, Math.floor(options.timeoutMs / 2)) },
      headersTimeout: 0,
      bodyTimeout: 0,
    });
  };

  return {
    async redeem(charge, signal) {
      let exchange: Exchange;
      try {
        const body = encodeRedeem(charge);
        pool ??= openPool();
        exchange = await attempt(
          await pool,
          {
            method: "POST",
            path: url.pathname + url.search,
            headers: {
              accept: "application/json",
              authorization: `Bearer ${options.apiKey}`,
              "content-type": "application/json",
              // Not documented for this endpoint. Harmless where it is ignored, and the whole of
              // exactly-once where it is honoured.
              "idempotency-key": charge.redemptionId,
              // Nevermined echoes it and writes it to its own log: how its support finds a charge.
              "x-correlation-id": charge.redemptionId,
              "nevermined-version": "1.1",
            },
            body,
          },
          options.timeoutMs,
          signal,
        );
      } catch (error) {
        exchange = { written: false, fault: describe(error) };
      }
      const answer = readOutcome(exchange, charge.amount, options.now());
      if (!("message" in answer)) return answer;
      return { ...answer, message: presentable(answer.message, [options.apiKey, charge.proof]) };
    },

    async close() {
      const open = await pool?.catch(() => undefined);
      await open?.destroy();
    },
  };
}

/**
 * One exchange. undici calls `onRequestStart` right before it writes the head, and never for a
 * request whose connection failed or that is still queued: that call is the evidence of writing.
 */
function attempt(
  pool: Pool,
  request: Dispatcher.DispatchOptions,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<Exchange> {
  return new Promise((resolve) => {
    let written = false;
    let controller: Dispatcher.DispatchController | undefined;
    let head:
      | { status: number; headers: Record<string, string | string[] | undefined> }
      | undefined;
    const chunks: Buffer[] = [];
    let bytes = 0;
    let over = false;

    const settle = (outcome: { body?: string; fault?: Exchange["fault"] }) => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      const answer = head && { ...head, body: outcome.body };
      resolve({
        written,
        ...(answer && { answer }),
        ...(outcome.fault && { fault: outcome.fault }),
      });
    };
    const giveUp = (code: string, message: string) => {
      settle({ fault: { code, message } });
      controller?.abort(new Error(message));
    };
    const onAbort = () => giveUp("ABORTED", "the program is shutting down");
    const timer = setTimeout(
      () => giveUp("ETIMEDOUT", `no answer within ${timeoutMs} ms`),
      timeoutMs,
    );
    if (signal?.aborted) return onAbort();
    signal?.addEventListener("abort", onAbort, { once: true });

    pool.dispatch(request, {
      onRequestStart(current) {
        // Given up while it was queued: aborting here is before the first byte.
        if (over) return current.abort(new Error("given up before it was sent"));
        controller = current;
        written = true;
      },
      onResponseStart(_controller, status, headers) {
        head = { status, headers };
      },
      onResponseData(current, chunk) {
        bytes += chunk.length;
        if (bytes <= replyCapBytes) {
          chunks.push(chunk);
        } else {
          settle({ fault: { code: "REPLY_TOO_LARGE", message: `over ${replyCapBytes} bytes` } });
          current.abort(new Error("reply too large"));
        }
      },
      onResponseEnd() {
        settle({ body: Buffer.concat(chunks).toString("utf8") });
      },
      onResponseError(_controller, error) {
        settle({ fault: describe(error) });
      },
    });
  });
}

function describe(error: unknown): { code: string; message: string } {
  // Node wraps the failures of all addresses of a name (happy eyeballs) into one without a message.
  const inner = error instanceof AggregateError ? (error.errors[0] ?? error) : error;
  const { code, message } = inner as { code?: unknown; message?: unknown };
  const text = typeof message === "string" && message !== "" ? message : "unknown error";
  return { code: typeof code === "string" ? code : "UNKNOWN", message: text };
}
