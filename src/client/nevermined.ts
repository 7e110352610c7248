/** Nevermined's HTTP API: one attempt for each call, no retries. */

import type { Answer, Charge } from "../redemption.ts";
import { exchange, faultOf } from "./exchange.ts";
import { type Exchange, readOutcome } from "./outcome.ts";
import { presentable } from "./presentable.ts";
import { openSockets, type Sockets } from "./sockets.ts";
import { encodeRedeem } from "./wire.ts";

export interface NeverminedClientOptions {
  /** Such as `https://api.sandbox.nevermined.app/api/v1`, without a slash at the end. */
  readonly baseUrl: string;
  /** Path of the redemption endpoint below the base URL. */
  readonly redeemPath: string;
  /** Sent as `Authorization: Bearer …`. */
  readonly apiKey: string;
  /** Sockets at the most. A charge that finds all of them in use is not sent. */
  readonly connections: number;
  /** Milliseconds for one attempt in all: connecting, writing, waiting and reading. */
  readonly timeoutMs: number;
  readonly now: () => number;
}

export interface NeverminedClient {
  /** Sends a charge once. Never rejects; `signal` gives up waiting, and says so in the answer. */
  redeem(charge: Charge, signal?: AbortSignal): Promise<Answer>;
  /** Ends the sockets, with whatever is on them. For good: what comes later is not sent. */
  close(): Promise<void>;
}

export function createNeverminedClient(options: NeverminedClientOptions): NeverminedClient {
  const url = new URL(`${options.baseUrl}${options.redeemPath}`);
  let opening: Promise<Sockets> | undefined;
  let closed = false;

  function open() {
    opening ??= openSockets({
      origin: url.origin,
      connections: options.connections,
      // Whatever is written has at least the other half of the time to be answered.
      connectTimeoutMs: Math.max(1, Math.floor(options.timeoutMs / 2)),
    }).catch((error: unknown) => {
      opening = undefined;
      throw error;
    });
    return opening;
  }

  function request(charge: Charge) {
    return {
      method: "POST" as const,
      path: url.pathname + url.search,
      headers: {
        accept: "application/json",
        // Without this header a server may choose any coding (RFC 9110, section 12.5.3).
        "accept-encoding": "identity",
        authorization: `Bearer ${options.apiKey}`,
        "content-type": "application/json",
        // Not documented for this endpoint. Harmless where it is ignored, and the whole of
        // exactly-once where it is honoured.
        "idempotency-key": charge.redemptionId,
        // Nevermined echoes it and writes it to its own log: how its support finds a charge.
        "x-correlation-id": charge.redemptionId,
        "nevermined-version": "1.1",
      },
      body: encodeRedeem(charge),
    };
  }

  async function send(charge: Charge, signal: AbortSignal | undefined): Promise<Exchange> {
    if (closed) return notSent({ code: "CLOSED", message: "the client is closed" });
    let prepared: ReturnType<typeof request>;
    let sockets: Sockets;
    try {
      prepared = request(charge);
      sockets = await open();
    } catch (error) {
      return notSent(faultOf(error));
    }
    const client = sockets.take();
    if (!client) {
      const message = `all ${options.connections} connections are in use`;
      return notSent({ code: "NO_FREE_CONNECTION", message });
    }
    const result = await exchange(client, prepared, options.timeoutMs, signal);
    // Only a socket whose answer was read to its end is fit for another request.
    if (result.answer?.body === undefined) sockets.drop(client);
    else sockets.keep(client);
    return result;
  }

  return {
    async redeem(charge, signal) {
      const answer = readOutcome(await send(charge, signal), charge.amount, options.now());
      if (!("message" in answer)) return answer;
      const secrets = [options.apiKey, charge.proof];
      // The code too is the ledger's own text.
      return {
        ...answer,
        code: presentable(answer.code, secrets),
        message: presentable(answer.message, secrets),
      };
    },

    async close() {
      closed = true;
      const sockets = await opening?.catch(() => undefined);
      await sockets?.close();
    },
  };
}

function notSent(fault: NonNullable<Exchange["fault"]>): Exchange {
  return { written: false, fault };
}
