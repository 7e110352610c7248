/**
 * `@x402/express` with Nevermined's scheme. It and its core are as published; what is ours is a facilitator
 * client that speaks to `/x402/verify` and `/x402/settle`, and a scheme that fills in what the core requires.
 */

import type { FacilitatorClient } from "@x402/core/server";
import type {
  PaymentPayload,
  PaymentRequirements,
  SchemeNetworkServer,
  SettleResponse,
  VerifyResponse,
} from "@x402/core/types";
import { paymentMiddleware, x402ResourceServer } from "@x402/express";
import type { RequestHandler } from "express";
import { type Offer, price } from "./messages.ts";

/** Credits are no token of a chain, and nobody is paid on one: the core does not look at what these say. */
const nobody = `0x${"00".repeat(20)}`;

export function createNeighbour(
  route: string,
  offer: Offer,
  ledger: { baseUrl: string; apiKey: string },
): RequestHandler {
  const { scheme, network, planId } = offer;
  const server = new Server(createFacilitator(offer, ledger)).register(network, {
    scheme,
    defaultAssetTransferMethod: "default",
    // Verify, handler, settle, answer: the flow of its usual schemes.
    paymentFlows: { default: { supported: ["authorization"], default: "authorization" } },
    parsePrice: async (asked) => ({ amount: String(asked), asset: planId }),
    enhancePaymentRequirements: async (requirements) => requirements,
  } satisfies SchemeNetworkServer);
  const accepts = { scheme, network, payTo: nobody, price, extra: { version: "1", planId } };
  return paymentMiddleware({ [route]: { accepts } }, server);
}

/**
 * The core compares the buyer's `accepted` with the whole of what was offered. In Nevermined's tokens it has
 * not the fields `amount`, `asset`, `payTo` and `maxTimeoutSeconds`: the plan is compared instead.
 */
class Server extends x402ResourceServer {
  override findMatchingRequirements(offered: PaymentRequirements[], { accepted }: PaymentPayload) {
    return offered.find(
      ({ scheme, network, extra }) =>
        scheme === accepted.scheme &&
        network === accepted.network &&
        extra.planId === (accepted as Partial<Offer>).planId,
    );
  }
}

function createFacilitator(
  { scheme, network }: Offer,
  { baseUrl, apiKey }: { baseUrl: string; apiKey: string },
): FacilitatorClient {
  /** The id under which a payment that was verified is settled once. */
  const ids = new WeakMap<PaymentPayload, string>();

  /** By fetch, as its own client asks, and failing as that does: with an Error, of which the core makes a 402. */
  async function ask(what: "verify" | "settle", payload: PaymentPayload, amount: string) {
    const agentRequestId = ids.get(payload);
    const response = await fetch(`${baseUrl}/x402/${what}`, {
      method: "POST",
      headers: { Authorization: `Bearer ${apiKey}`, "Content-Type": "application/json" },
      body: JSON.stringify({
        paymentRequired: {
          x402Version: 2,
          resource: payload.resource ?? { url: "" },
          accepts: [payload.accepted],
          extensions: {},
        },
        // The token is what the header said, and the core gives it decoded.
        x402AccessToken: Buffer.from(JSON.stringify(payload)).toString("base64"),
        maxAmount: amount,
        ...(agentRequestId && { agentRequestId }),
      }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`The ledger answers ${response.status} to ${what}: ${text}`);
    return JSON.parse(text);
  }

  return {
    async verify(payload, { amount }): Promise<VerifyResponse> {
      const verified = await ask("verify", payload, amount);
      ids.set(payload, verified.agentRequestId);
      return verified;
    },
    settle: (payload, { amount }): Promise<SettleResponse> => ask("settle", payload, amount),
    getSupported: async () => ({
      kinds: [{ x402Version: 2, scheme, network }],
      extensions: [],
      signers: {},
    }),
  };
}
