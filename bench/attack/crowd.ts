/** Clients that attack: they send what they are told, and tell what came back. */

import http from "node:http";

export interface Call {
  readonly holder: string;
  readonly proof: string;
  /** Default: `/call`. */
  readonly path?: string;
}

/** One request, and what came back. */
export interface Seen {
  readonly number: number;
  /** 0 where no answer came. */
  readonly status: number;
  readonly redemptionId: string | undefined;
}

/** Numbers requests, so that the server can tell for which of them it worked. */
export const numberHeader = "attack-number";
export const plan = "did:nv:attacked";

/** A made-up holder. */
export function holderOf(number: number): string {
  return `0x${number.toString(16).padStart(40, "0")}`;
}

/** So many times the same. */
export function times(count: number, call: Call): Call[] {
  return Array.from({ length: count }, () => call);
}

const longestMs = 20_000;

export interface Crowd {
  /** Sends the calls in their order, so many at once at the most. */
  send(port: number, calls: readonly Call[], atOnce?: number): Promise<Seen[]>;
  close(): void;
}

/** @param onRefused told of every request that came back without the answer that it asked for */
export function createCrowd(onRefused: () => void = () => {}): Crowd {
  const agent = new http.Agent({ keepAlive: true });
  let lastNumber = 0;

  function sendOne(port: number, { holder, proof, path = "/call" }: Call): Promise<Seen> {
    lastNumber += 1;
    const number = lastNumber;
    return new Promise((resolve) => {
      const headers = {
        [numberHeader]: number,
        "nevermined-plan-id": plan,
        "nevermined-holder-address": holder,
        "nevermined-proof": proof,
      };
      const end = (status: number, redemptionId?: string) => {
        if (status !== 200) onRefused();
        resolve({ number, status, redemptionId });
      };
      const request = http.request({ port, path, method: "POST", agent, headers });
      request.setTimeout(longestMs, () => request.destroy());
      request.on("error", () => end(0));
      request.on("response", (response) => {
        const id = response.headers["redemption-id"];
        response.resume();
        response.on("error", () => end(0));
        response.on("end", () => end(response.statusCode ?? 0, id as string | undefined));
      });
      request.end();
    });
  }

  return {
    async send(port, calls, atOnce = calls.length) {
      const left = calls.values();
      const seen: Seen[] = [];
      async function sendNext() {
        for (const call of left) seen.push(await sendOne(port, call));
      }
      await Promise.all(Array.from({ length: atOnce }, sendNext));
      return seen;
    },
    close: () => agent.destroy(),
  };
}
