/** Nevermined's HTTP API: one attempt for each call, no retries. */

import type { Dispatcher } from "undici";
import type { Answer, BalanceReading } from "../redemption.ts";
import { exchange, faultOf } from "./exchange.ts";
import { type Exchange, readOutcome } from "./outcome.ts";
import { presentable } from "./presentable.ts";
import { openSockets, type Sockets } from "./sockets.ts";
import { readBalance, secretOf } from "./wire.ts";

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

/** A charge as it goes on the wire. */
export interface Sendable {
  readonly redemptionId: string;
  /** Credits that the body asks for. */
  readonly amount: number;
  /** What `encodeRedeem` made; the same bytes at every attempt. */
  readonly body: string;
}

export interface NeverminedClient {
  /** Sends a charge once. Never rejects; `signal` gives up waiting, and says so in the answer. */
  redeem(charge: Sendable, signal?: AbortSignal): Promise<Answer>;
  /** What a holder has left on a plan. Never rejects. */
  balance(planId: string, holderAddress: string): Promise<BalanceReading>;
  /** Loads what the first charge would have to wait for. */
  warmUp(): void;
  /** Ends the sockets, with whatever is on them. For good: what comes later is not sent. */
  close(): Promise<void>;
}

/** Milliseconds for a question about a balance: a request may be waiting for it. */
const balanceTimeoutMs = 3_000;

export function createNeverminedClient(options: NeverminedClientOptions): NeverminedClient {
  const base = new URL(options.baseUrl);
  const url = new URL(`${options.baseUrl}${options.redeemPath}`);
  const common = {
    accept: "application/json",
    // Without this header a server may choose any coding (RFC 9110, section 12.5.3).
    "accept-encoding": "identity",
    "nevermined-version": "1.1",
  };
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

  function redeemRequest({ redemptionId, body }: Sendable) {
    return {
      method: "POST" as const,
      path: url.pathname + url.search,
      headers: {
        ...common,
        authorization: `Bearer ${options.apiKey}`,
        "content-type": "application/json",
        // Not documented for this endpoint. Harmless where it is ignored, and the whole of
        // exactly-once where it is honoured.
        "idempotency-key": redemptionId,
        // Nevermined echoes it and writes it to its own log: how its support finds a charge.
        "x-correlation-id": redemptionId,
      },
      body,
    };
  }

  /** Nevermined's SDK sends no key with this one. */
  function balanceRequest(planId: string, holderAddress: string) {
    const path = `/protocol/plans/${encodeURIComponent(planId)}/balance/${holderAddress}`;
    return { method: "GET" as const, path: base.pathname + path, headers: common };
  }

  async function send(
    request: Dispatcher.DispatchOptions,
    signal: AbortSignal | undefined,
    timeoutMs = options.timeoutMs,
  ): Promise<Exchange> {
    if (closed) return notSent({ code: "CLOSED", message: "the client is closed" });
    let sockets: Sockets;
    try {
      sockets = await open();
    } catch (error) {
      return notSent(faultOf(error));
    }
    const client = sockets.take();
    if (!client) {
      const message = `all ${options.connections} connections are in use`;
      return notSent({ code: "NO_FREE_CONNECTION", message });
    }
    const result = await exchange(client, request, timeoutMs, signal);
    // Only a socket whose answer was read to its end is fit for another request.
    if (result.answer?.body === undefined) sockets.drop(client);
    else sockets.keep(client);
    return result;
  }

  return {
    async redeem(charge, signal) {
      const result = await send(redeemRequest(charge), signal);
      const answer = readOutcome(result, charge.amount, options.now());
      if (!("message" in answer)) return answer;
      const secrets = [options.apiKey, secretOf(charge.body)];
      // The code too is the ledger's own text.
      return {
        ...answer,
        code: presentable(answer.code, secrets),
        message: presentable(answer.message, secrets),
      };
    },

    async balance(planId, holderAddress) {
      const timeoutMs = Math.min(options.timeoutMs, balanceTimeoutMs);
      const { answer } = await send(balanceRequest(planId, holderAddress), undefined, timeoutMs);
      return readBalance(answer);
    },

    warmUp() {
      // What goes wrong is told with the first charge.
      open().catch(() => {});
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
