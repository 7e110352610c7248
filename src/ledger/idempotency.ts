import { hash } from "node:crypto";
import type { Accounts } from "./accounts.ts";
import { type Answer, problem } from "./answers.ts";

/** What makes a request idempotent: a header, or at a settlement its field. */
export type KeyName = "Idempotency-Key" | "agentRequestId";

/** A key of idempotency and what it stands for. */
export interface Keyed {
  /** Under which name the client sent it. Keys of different names never meet. */
  name: KeyName;
  key: string;
  /** Equal for equal requests. */
  fingerprint: string;
}

/** Equal for the same endpoint and payload. A hash, so that no proof is kept. */
export function fingerprint(endpoint: string, payload: readonly unknown[]): string {
  return hash("sha256", JSON.stringify([endpoint, ...payload]), "base64");
}

/** One answer for each key of idempotency: kept with the accounts, for as long as they are. */
export function createIdempotency(accounts: Accounts) {
  const running = new Map<string, string>();
  return {
    /** The answer that the key already has, or `undefined`: then it is the caller's to release. */
    claim(keyed: Keyed, correlationId: string): Answer | undefined {
      const { name, fingerprint } = keyed;
      const key = stored(keyed);
      const remembered = accounts.recall(key);
      const first = running.get(key) ?? remembered?.fingerprint;
      if (first === undefined) {
        running.set(key, fingerprint);
        return undefined;
      }
      if (first !== fingerprint) {
        const message = `This ${name} was used with another body: send a new one.`;
        return problem(422, "BCK.HTTP.422", message, correlationId);
      }
      if (remembered) return { status: remembered.status, body: remembered.body };
      const message = `The request with this ${name} is still being processed: send it again later.`;
      return problem(409, "BCK.HTTP.409", message, correlationId);
    },
    /** Binds the key to its answer; to be called in the transaction that moves the credits. */
    remember(keyed: Keyed, { status, body }: Answer): void {
      accounts.remember(stored(keyed), { fingerprint: keyed.fingerprint, status, body });
    },
    release(keyed: Keyed): void {
      running.delete(stored(keyed));
    },
  };
}

/** Under what a key is kept. No header can hold the line feed that sets an `agentRequestId` apart. */
function stored({ name, key }: Keyed): string {
  return name === "Idempotency-Key" ? key : `${name}\n${key}`;
}
