/** Asks for access tokens, and for answers, with a clock in the hand. */

import http from "node:http";
import type { Offer } from "./messages.ts";

export interface Answer {
  readonly status: number;
  readonly body: string;
  /** Milliseconds from the request to the first byte of the body. */
  readonly firstByteMs: number;
  /** The same, to the last one. */
  readonly lastByteMs: number;
}

/** One access token, for any number of requests. */
export async function tokenFor(offer: Offer, baseUrl: string, buyerKey: string): Promise<string> {
  const answer = await fetch(`${baseUrl}/x402/permissions`, {
    method: "POST",
    headers: { Authorization: `Bearer ${buyerKey}`, "Content-Type": "application/json" },
    body: JSON.stringify({ accepted: { ...offer, extra: { version: "1" } } }),
  });
  const { accessToken } = (await answer.json()) as { accessToken?: string };
  if (accessToken === undefined) throw new Error(`The ledger gives no token: ${answer.status}.`);
  return accessToken;
}

/** A buyer keeps its connections. */
export function createBuyer() {
  const agent = new http.Agent({ keepAlive: true });
  const ask = (port: number, path: string, token: string) =>
    new Promise<Answer>((resolve, reject) => {
      const options = { agent, port, host: "127.0.0.1", path };
      const asked = performance.now();
      const request = http.get({ ...options, headers: { "payment-signature": token } });
      request.once("error", reject).once("response", (response) => {
        let firstByteMs = Number.NaN;
        let body = "";
        response.setEncoding("utf8").on("data", (text: string) => {
          if (body === "") firstByteMs = performance.now() - asked;
          body += text;
        });
        response.once("error", reject).once("end", () => {
          const lastByteMs = performance.now() - asked;
          resolve({ status: response.statusCode ?? 0, body, firstByteMs, lastByteMs });
        });
      });
    });
  return { ask, close: () => agent.destroy() };
}
