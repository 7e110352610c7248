/** Nevermined's HTTP API: one attempt for each call, no retries. */

import type { Dispatcher } from "undici";
import type { Answer, BalanceReading, Verification, VerifyQuestion } from "../redemption.ts";
import { readBalance } from "./balance.ts";
import { exchange, faultOf } from "./exchange.ts";
import { type Exchange, readOutcome } from "./outcome.ts";
import { presentable } from "./presentable.ts";
import { readSettlement, readVerification } from "./settlement.ts";
import { openSockets, type Sockets } from "./sockets.ts";
import { secretOf } from "./wire.ts";
import { encodeVerify, secretsOfToken, tokenOf } from "./x402-wire.ts";

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
  /** Whether a repeatable charge whose answer was lost is sent again under its id: it costs nobody's work. */
  readonly honoursIds: boolean;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Milliseconds of a clock that nobody sets. */
  readonly elapsed: () => number;
}

/** A charge as it goes on the wire. */
export interface Sendable {
  readonly redemptionId: string;
  /** Credits that the body asks for. */
  readonly amount: number;
  /** What `encodeRedeem` or `encodeSettle` made; the same bytes at every attempt. */
  readonly body: string;
  /** Whether it carries an id that the ledger may honour. */
  readonly repeatable: boolean;
}

export interface NeverminedClient {
  /**
   * Sends a charge once. Never rejects; `signal` gives up waiting, and says so in the answer. `mayWrite` is
   * asked in the same tick right before the first byte is written; where it says no, nothing is.
   */
  redeem(charge: Sendable, signal?: AbortSignal, mayWrite?: () => boolean): Promise<Answer>;
  /** The same at x402's endpoint. Never rejects. */
  settle(charge: Sendable, signal?: AbortSignal, mayWrite?: () => boolean): Promise<Answer>;
  /** Whether an x402 access token pays so many credits. Burns nothing. Never rejects. */
  verify(question: VerifyQuestion): Promise<Verification>;
  /** What a holder has left on a plan. Never rejects. */
  balance(planId: string, holderAddress: string): Promise<BalanceReading>;
  /** Loads what the first charge would have to wait for. */
  warmUp(): void;
  /** Ends the sockets, with whatever is on them. For good: what comes later is not sent. */
  close(): Promise<void>;
}

/** Milliseconds for a question about a balance or a token: a request may be waiting for it. */
const questionTimeoutMs = 3_000;

/**
 * Milliseconds that a socket may have stood idle before a charge goes on it whose lost answer costs a person's
 * work. Proxies close idle sockets after 50 ms and more; charges that follow one another are 10 ms apart.
 */
const justNowMs = 10;

interface Sending {
  readonly timeoutMs: number;
  /** Milliseconds that the socket may have stood idle; 0: a new one. */
  readonly maxIdleMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly mayWrite?: (() => boolean) | undefined;
}

export function createNeverminedClient(options: NeverminedClientOptions): NeverminedClient {
  // Joined as text and then read: the path of a URL without one is "/".
  const endpoint = (path: string) => new URL(`${options.baseUrl}${path}`);
  const redeemUrl = endpoint(options.redeemPath);
  const settleUrl = endpoint("/x402/settle");
  const verifyUrl = endpoint("/x402/verify");
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
      origin: redeemUrl.origin,
      connections: options.connections,
      // Whatever is written has at least the other half of the time to be answered.
      connectTimeoutMs: Math.max(1, Math.floor(options.timeoutMs / 2)),
      elapsed: options.elapsed,
    }).catch((error: unknown) => {
      opening = undefined;
      throw error;
    });
    return opening;
  }

  function post(url: URL, body: string, headers: Record<string, string> = {}) {
    return {
      method: "POST" as const,
      path: url.pathname + url.search,
      headers: {
        ...common,
        authorization: `Bearer ${options.apiKey}`,
        "content-type": "application/json",
        ...headers,
      },
      body,
    };
  }

  function chargeRequest(url: URL, { redemptionId, body }: Sendable) {
    return post(url, body, {
      // Not documented for any endpoint. Harmless where it is ignored, and the whole of exactly-once
      // where it is honoured.
      "idempotency-key": redemptionId,
      // Nevermined echoes it and writes it to its own log: how its support finds a charge.
      "x-correlation-id": redemptionId,
    });
  }

  /** Nevermined's SDK sends no key with this one. */
  function balanceRequest(planId: string, holderAddress: string) {
    const plan = encodeURIComponent(planId);
    const url = endpoint(`/protocol/plans/${plan}/balance/${holderAddress}`);
    return { method: "GET" as const, path: url.pathname, headers: common };
  }

  async function send(
    request: Dispatcher.DispatchOptions,
    { timeoutMs, maxIdleMs, signal, mayWrite }: Sending,
  ): Promise<Exchange> {
    if (closed) return notSent({ code: "CLOSED", message: "the client is closed" });
    let sockets: Sockets;
    try {
      sockets = await open();
    } catch (error) {
      return notSent(faultOf(error));
    }
    const client = sockets.take(maxIdleMs);
    if (!client) {
      const message = `all ${options.connections} connections are in use`;
      return notSent({ code: "NO_FREE_CONNECTION", message });
    }
    const result = await exchange(client, request, timeoutMs, signal, mayWrite);
    // Only a socket whose answer was read to its end is fit for another request.
    if (result.answer?.body === undefined) sockets.drop(client);
    else sockets.keep(client);
    return result;
  }

  function sendCharge(url: URL, charge: Sendable, signal?: AbortSignal, mayWrite?: () => boolean) {
    const isCheap = options.honoursIds && charge.repeatable;
    const maxIdleMs = isCheap ? Number.POSITIVE_INFINITY : justNowMs;
    const { timeoutMs } = options;
    return send(chargeRequest(url, charge), { timeoutMs, maxIdleMs, signal, mayWrite });
  }

  /** Burns nothing, so it is asked once more, on a new connection, where the first one broke. */
  async function ask(request: Dispatcher.DispatchOptions): Promise<Exchange> {
    const since = options.elapsed();
    const timeoutMs = Math.min(options.timeoutMs, questionTimeoutMs);
    const first = await send(request, { timeoutMs, maxIdleMs: Number.POSITIVE_INFINITY });
    const broke = first.written && first.fault !== undefined && first.fault.code !== "ETIMEDOUT";
    const left = timeoutMs - (options.elapsed() - since);
    return broke && left > 0 ? send(request, { timeoutMs: left, maxIdleMs: 0 }) : first;
  }

  function shown(text: string, secrets: readonly string[]): string {
    return presentable(text, [options.apiKey, ...secrets]);
  }

  /** The code too is the ledger's own text. */
  function withoutSecrets(
    answer: Exclude<Answer, { status: "completed" }>,
    secrets: readonly string[],
  ): Answer {
    return {
      ...answer,
      code: shown(answer.code, secrets),
      message: shown(answer.message, secrets),
    };
  }

  return {
    async redeem(charge, signal, mayWrite) {
      const result = await sendCharge(redeemUrl, charge, signal, mayWrite);
      const answer = readOutcome(result, charge.amount, options.now());
      return "message" in answer ? withoutSecrets(answer, [secretOf(charge.body)]) : answer;
    },

    async settle(charge, signal, mayWrite) {
      const result = await sendCharge(settleUrl, charge, signal, mayWrite);
      const answer = readSettlement(result, charge.amount, options.now());
      const secrets = secretsOfToken(tokenOf(charge.body));
      if ("message" in answer) return withoutSecrets(answer, secrets);
      const { transaction, ...rest } = answer;
      // It is shown as it is, or not at all.
      const isEcho = transaction !== undefined && shown(transaction, secrets) !== transaction;
      return transaction === undefined || isEcho ? rest : answer;
    },

    async verify(question) {
      // Nevermined's SDK sends a key with neither of x402's two (nevermined-io/payments,
      // src/x402/facilitator-api.ts); the embedded ledger asks for it.
      const request = post(verifyUrl, encodeVerify(question));
      const verification = readVerification(await ask(request));
      if (!("message" in verification)) return verification;
      const secrets = secretsOfToken(question.x402AccessToken);
      return { ...verification, message: shown(verification.message, secrets) };
    },

    async balance(planId, holderAddress) {
      const request = balanceRequest(planId, holderAddress);
      const reading = readBalance(await ask(request));
      return reading.told ? reading : { ...reading, message: shown(reading.message, []) };
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
