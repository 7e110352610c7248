import { setTimeout as sleep } from "node:timers/promises";
import { type Answer, problem } from "./answers.ts";
import type { Endpoint, Fault, GarbageForm } from "./faults.ts";

export type Moment = "before" | "after";

/** Where requests hang until they are let go. */
export interface Gate {
  hold(): Promise<void>;
  /** Resolves as soon as at least `count` requests hang. */
  holding(count: number): Promise<void>;
  /** Returns how many were let go. */
  release(): number;
  /** Those that hang are forgotten: they neither apply nor answer. */
  close(): void;
}

export function createGate(): Gate {
  const held = new Set<() => void>();
  const watchers = new Set<() => void>();
  let closed = false;
  return {
    hold() {
      return new Promise((resolve) => {
        held.add(resolve);
        for (const watch of watchers) watch();
      });
    },
    holding(count) {
      return new Promise((resolve, reject) => {
        const watch = () => {
          if (held.size < count && !closed) return;
          watchers.delete(watch);
          if (held.size >= count) resolve();
          else reject(new Error(`The ledger was closed before ${count} requests hung.`));
        };
        watchers.add(watch);
        watch();
      });
    },
    release() {
      const count = held.size;
      for (const resolve of held) resolve();
      held.clear();
      return count;
    },
    close() {
      closed = true;
      held.clear();
      for (const watch of watchers) watch();
    },
  };
}

/** Waits out the delays and hangs of one moment. */
export async function wait(
  faults: readonly Fault[],
  moment: Moment,
  gate: Gate,
  signal: AbortSignal,
): Promise<void> {
  for (const { name, ms } of faults) {
    if (name === `delay-${moment}-applying`) await sleep(ms, undefined, { signal });
    if (name === `hang-${moment}-applying`) await gate.hold();
  }
}

/** The first fault of one moment that takes the place of the answer. */
export function ending(faults: readonly Fault[], moment: Moment): Fault | undefined {
  return faults.find(
    ({ name }) => name.endsWith(`-${moment}-applying`) && !/^(delay|hang|close)-/.test(name),
  );
}

/** What a fault answers instead; `undefined`: nothing, the connection is dropped. */
export function falseAnswer(
  { name, form, status = 500, code, retryAfter }: Fault,
  endpoint: Endpoint,
  path: string,
  correlationId: string,
): Answer | undefined {
  if (name.startsWith("drop-")) return undefined;
  if (form) return garbage[form];
  if (name === "throttle-before-applying") {
    const answer = problem(429, "BCK.HTTP.429", "Too many requests: come later.", correlationId);
    return retryAfter === undefined ? answer : { ...answer, retryAfter };
  }
  if (status === 200) {
    return { status, body: endpoint === "verify" ? '{"isValid":false}' : '{"success":false}' };
  }
  const known = code ?? codes[status]?.[isX402(endpoint) ? 1 : 0];
  const message =
    status === 404 && !known ? `Cannot ${path}` : `A fault that was asked for: ${name}.`;
  return problem(status, known ?? `BCK.HTTP.${status}`, message, correlationId);
}

function isX402(endpoint: Endpoint): boolean {
  return endpoint === "permissions" || endpoint === "verify" || endpoint === "settle";
}

/** For plans, and for x402: an invalid access token, and a key that is no party to the payment. */
const codes: Readonly<Record<number, readonly [plans: string, x402: string]>> = {
  401: ["BCK.APIKEY.0004", "BCK.APIKEY.0004"],
  402: ["BCK.CREDITS.0003", "BCK.X402.0005"],
  403: ["BCK.PROTOCOL.0030", "BCK.X402.0060"],
};

const garbage: Readonly<Record<GarbageForm, Answer>> = {
  html: {
    status: 200,
    contentType: "text/html",
    body: "<!doctype html><title>One moment</title><p>Checking your browser.",
  },
  truncated: { status: 200, body: '{"success":true,"creditsRed' },
  types: {
    status: 200,
    body: '{"success":"yes","isValid":1,"creditsRedeemed":{},"remainingBalance":[],"balance":null,"transaction":false,"agentRequestId":{},"accessToken":0}',
  },
  empty: { status: 200, body: "" },
};
