/** Buyers who send requests, and remember what they received. */

import { setTimeout as sleep } from "node:timers/promises";

export interface Received {
  /** 0: the connection broke before the answer was whole. */
  readonly status: number;
  /** Of an answer that was paid for. */
  readonly redemptionId: string | null;
  /** The process that answered; 0 where it is not known. */
  readonly place: number;
  /** Milliseconds, by `performance.now`. */
  readonly at: number;
}

export interface Buyer {
  readonly plan: string;
  readonly holder: string;
}

export async function buy(url: string, { plan, holder }: Buyer): Promise<Received> {
  let redemptionId: string | null = null;
  try {
    const response = await fetch(`${url}/v1/answers`, {
      method: "POST",
      headers: {
        "Nevermined-Plan-Id": plan,
        "Nevermined-Holder-Address": holder,
        "Nevermined-Proof": "0xdemo",
      },
    });
    redemptionId = response.headers.get("Redemption-Id");
    const { status } = response;
    const text = await response.text();
    const { place = 0 } = status === 200 ? JSON.parse(text) : {};
    return { status, redemptionId, place, at: performance.now() };
  } catch {
    return { status: 0, redemptionId, place: 0, at: performance.now() };
  }
}

/** Milliseconds between two requests of a buyer, at the least: so fast, no ledger is left behind. */
const pauseMs = 100;

/**
 * Each buyer sends one request after the other until `stop` says so.
 *
 * @param onReceived told at once
 */
export function startLoad(
  url: string,
  buyers: readonly Buyer[],
  onReceived: (one: Received) => void,
) {
  const received: Received[] = [];
  let stopped = false;
  async function shop(buyer: Buyer, index: number) {
    await sleep((pauseMs * index) / buyers.length);
    while (!stopped) {
      const pause = sleep(pauseMs);
      const one = await buy(url, buyer);
      received.push(one);
      onReceived(one);
      await pause;
    }
  }
  const shopping = Promise.all(buyers.map(shop));
  return {
    received,
    async stop() {
      stopped = true;
      await shopping;
    },
  };
}
