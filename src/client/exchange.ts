/** One request and what came of it, with evidence of whether it was written. */

import type { Client, Dispatcher } from "undici";
import { startCountdown } from "./countdown.ts";
import type { Exchange } from "./outcome.ts";

/** A reply to a redemption is some 100 bytes; an error body with its hints stays below 4 KiB. */
const replyCapBytes = 64 * 1024;

/**
 * undici calls `onRequestStart` in the same tick right before it writes the head
 * (`lib/dispatcher/client-h1.js`, `writeH1`), and never for a request whose connection failed or
 * that still waits for it: that call is the evidence of writing.
 *
 * @param mayWrite looked at in the same tick right before the first byte
 * @param client not in use by anything else; to be dropped by the caller unless the answer has a body
 * @returns never rejects
 */
export function exchange(
  client: Client,
  request: Dispatcher.DispatchOptions,
  timeoutMs: number,
  signal: AbortSignal | undefined,
  mayWrite: () => boolean = () => true,
): Promise<Exchange> {
  return new Promise((resolve) => {
    let written = false;
    let head: Omit<NonNullable<Exchange["answer"]>, "body"> | undefined;
    const chunks: Buffer[] = [];
    let bytes = 0;
    let over = false;

    /** The first call counts: a promise resolves once. */
    const settle = (body: string | undefined, fault?: Exchange["fault"]) => {
      over = true;
      stopCountdown();
      signal?.removeEventListener("abort", onAbort);
      resolve({ written, ...(head && { answer: { ...head, body } }), ...(fault && { fault }) });
    };
    const fail = (code: string, message: string) => settle(undefined, { code, message });
    const onAbort = () => fail("ABORTED", "the program is shutting down");
    const onTimeout = () => fail("ETIMEDOUT", `no answer within ${timeoutMs} ms`);
    const stopCountdown = startCountdown(timeoutMs, onTimeout);

    if (signal?.aborted) return onAbort();
    signal?.addEventListener("abort", onAbort, { once: true });

    try {
      client.dispatch(request, {
        onRequestStart(controller) {
          // Given up in this very tick: aborting here is before the first byte.
          if (!over && !mayWrite()) fail("FORBIDDEN", "it must not be sent any more");
          if (over) return controller.abort(new Error("given up before it was sent"));
          written = true;
        },
        onResponseStart(_controller, status, headers) {
          // 1xx is not the answer yet; undici passes 102 and 103 on.
          if (status >= 200) head = { status, headers };
        },
        onResponseData(_controller, chunk) {
          bytes += chunk.length;
          if (bytes > replyCapBytes) fail("REPLY_TOO_LARGE", `over ${replyCapBytes} bytes`);
          else chunks.push(chunk);
        },
        onResponseEnd() {
          settle(Buffer.concat(chunks).toString("utf8"));
        },
        onResponseError(_controller, error) {
          settle(undefined, faultOf(error));
        },
      });
    } catch (error) {
      settle(undefined, faultOf(error));
    }
  });
}

/** What broke an exchange, as Node or undici names it. */
export function faultOf(error: unknown): NonNullable<Exchange["fault"]> {
  // Node wraps the failures of all addresses of a name (happy eyeballs) into one without a message.
  const inner: unknown = error instanceof AggregateError ? (error.errors[0] ?? error) : error;
  const { code, message } = Object(inner) as { code?: unknown; message?: unknown };
  return {
    code: typeof code === "string" ? code : "UNKNOWN",
    message: typeof message === "string" && message !== "" ? message : "unknown error",
  };
}
