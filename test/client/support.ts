import { randomUUID } from "node:crypto";
import {
  createNeverminedClient,
  type NeverminedClient,
  type NeverminedClientOptions,
} from "../../src/client/nevermined.ts";
import { encodeRedeem } from "../../src/client/wire.ts";
import { encodeSettle } from "../../src/client/x402-wire.ts";
import type { Charge } from "../../src/redemption.ts";

export const apiKey = "nvm:eyJhbGciOiJFUzI1NksifQ.key-of-the-seller.c2lnbmF0dXJl";

export function aCharge(fields: Partial<Charge> = {}): Charge {
  return {
    redemptionId: randomUUID(),
    planId: "105906633592154016712415751065229",
    holderAddress: "0xAbCdEf0123456789aBcDeF0123456789AbCdEf01",
    proof: `0x${"5e1f".repeat(33)}`,
    amount: 10,
    ...fields,
  };
}

const open = new Set<NeverminedClient>();

/** A client that takes charges, and encodes them as the redeemer does. */
export function aClient(options: Partial<NeverminedClientOptions> = {}) {
  const client = createNeverminedClient({
    baseUrl: "http://ledger.test/api/v1",
    redeemPath: "/protocol/plans/redeem",
    apiKey,
    connections: 4,
    timeoutMs: 10_000,
    honoursIds: false,
    now: Date.now,
    elapsed: () => performance.now(),
    ...options,
  });
  open.add(client);
  return {
    redeem: (charge: Charge, signal?: AbortSignal) =>
      client.redeem({ ...charge, repeatable: true, body: encodeRedeem(charge) }, signal),
    settle: (charge: Charge, signal?: AbortSignal) =>
      client.settle({ ...charge, repeatable: true, body: encodeSettle(charge) }, signal),
    verify: client.verify,
    balance: client.balance,
    close: client.close,
  };
}

/** To be called after each test. */
export async function closeClients(): Promise<void> {
  await Promise.all([...open].map((client) => client.close()));
  open.clear();
}
