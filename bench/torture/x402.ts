/** What x402 needs besides: access tokens for the buyers, and what each settlement on the wire is for. */

import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { IncomingMessage } from "node:http";
import type { Ledger } from "../../src/ledger/index.ts";

/** Servers with an environment of their own settle there. */
const network = "eip155:84532";

/** Access tokens of the holders, in their order. */
export function buyTokens(
  ledger: Ledger,
  planId: string,
  holders: readonly string[],
): Promise<string[]> {
  const accepted = { scheme: "nvm:erc4337", network, planId, extra: { version: "1" } };
  return Promise.all(
    holders.map(async (holder) => {
      const answer = await fetch(`${ledger.baseUrl}/x402/permissions`, {
        method: "POST",
        headers: {
          authorization: `Bearer ${ledger.addBuyer(holder)}`,
          "content-type": "application/json",
        },
        body: JSON.stringify({ accepted }),
      });
      return ((await answer.json()) as { accessToken: string }).accessToken;
    }),
  );
}

export interface SettlementsSeen {
  /** The request that a redemption was settled for; null where none was, or for more than one. */
  requestOf(redemptionId: string): number | null;
  /** Settlements that reached the ledger, repeated ones too. */
  count(): number;
  close(): void;
}

/**
 * Reads along at the ledger's port. A token pays for many requests, and who burns is not told for which:
 * only the settlement's resource says so, `…/credits/<amount>/<number of the request>`.
 */
export function watchSettlements(port: number): SettlementsSeen {
  const requests = new Map<string, number | null>();
  let count = 0;

  function note(redemptionId: string, body: string) {
    let url: unknown;
    try {
      url = JSON.parse(body).paymentRequired.resource.url;
    } catch {
      // Cut off in the middle: the ledger cannot read it either.
      return;
    }
    count += 1;
    const number = /\/credits\/\d+\/(\d+)$/.exec(String(url))?.[1];
    const request = number === undefined ? null : Number(number);
    const before = requests.get(redemptionId);
    requests.set(redemptionId, before === undefined || before === request ? request : null);
  }

  const onRequest = (message: unknown) => {
    const { request } = message as { request: IncomingMessage };
    if (request.socket.localPort !== port || !request.url?.endsWith("/x402/settle")) return;
    const chunks: Buffer[] = [];
    // The ledger's own parser listens before the first chunk flows: it misses nothing.
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () =>
      note(String(request.headers["idempotency-key"]), Buffer.concat(chunks).toString()),
    );
  };
  subscribe("http.server.request.start", onRequest);
  return {
    requestOf: (redemptionId) => requests.get(redemptionId) ?? null,
    count: () => count,
    close: () => void unsubscribe("http.server.request.start", onRequest),
  };
}
