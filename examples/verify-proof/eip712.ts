/**
 * Proofs that an API can check before its handler runs: EIP-712 typed data that the holder signed.
 *
 * Nevermined documents no typed data for this. What is signed here is the choice of this API, which
 * tells it to its buyers; another API may sign other fields. A holder that is a contract cannot sign so
 * (EIP-1271 needs a question to the chain).
 */

import type { VerifyProof } from "express-credit-meter";
import { type Address, type Hex, isHex, recoverTypedDataAddress } from "viem";

/**
 * Where a proof counts. `name` is that of this API: plans may pay for several, and a proof that was made
 * for one of them should be worth nothing at another.
 */
export interface ProofDomain {
  readonly name: string;
  readonly version: string;
  readonly chainId: number;
}

/** What the holder signs. */
export interface Claim {
  readonly planId: string;
  /** 32 bytes, new for each request. */
  readonly nonce: Hex;
  /** Seconds since 1970. */
  readonly deadline: number;
}

/** The typed data of a claim, for those who sign it and those who check it. */
export function typedDataOf(domain: ProofDomain, { planId, nonce, deadline }: Claim) {
  return {
    domain,
    types: {
      Payment: [
        { name: "planId", type: "string" },
        { name: "nonce", type: "bytes32" },
        { name: "deadline", type: "uint256" },
      ],
    },
    primaryType: "Payment",
    message: { planId, nonce, deadline: BigInt(deadline) },
  } as const;
}

export interface VerifierOptions {
  readonly domain: ProofDomain;
  /**
   * Seconds that a deadline may lie ahead. The meter remembers spent nonces for its `retentionDays`; a
   * proof that is valid for longer could be used again after them. Default: an hour.
   */
  readonly longestSeconds?: number;
  /** Milliseconds since 1970. Default: the clock. */
  readonly now?: () => number;
}

/**
 * A function for `guard.verifyProof` that takes proofs of the form
 * `{"nonce":"0x…","deadline":1767225600,"signature":"0x…"}`. It goes with `proofs: "single-use"`.
 */
export function eip712Verifier(options: VerifierOptions): VerifyProof {
  const { domain, longestSeconds = 3_600, now = Date.now } = options;

  return async ({ planId, holderAddress, proof }) => {
    const read = readProof(proof);
    if (read === undefined) return false;
    const { nonce, deadline, signature } = read;
    // First, because recovering a key is dear, and whoever sends old or made-up proofs pays nothing.
    const secondsLeft = deadline - now() / 1_000;
    if (secondsLeft <= 0 || secondsLeft > longestSeconds) return false;
    const signer = await signerOf(domain, { planId, nonce, deadline }, signature);
    if (signer?.toLowerCase() !== holderAddress.toLowerCase()) return false;
    // Not the signature, which anybody can spell in other ways that are as valid: a high s, v as 0 or
    // 27. With the holder, so that nobody can use up a nonce that another holder will want.
    return { nonce: `${signer} ${nonce}`.toLowerCase() };
  };
}

/** Undefined where no key can have made the signature. */
async function signerOf(
  domain: ProofDomain,
  claim: Claim,
  signature: Hex,
): Promise<Address | undefined> {
  try {
    return await recoverTypedDataAddress({ ...typedDataOf(domain, claim), signature });
  } catch {
    // viem says so by throwing, and a buyer's input must not become an error of the API.
    return undefined;
  }
}

/** Undefined where the proof has another form. */
function readProof(proof: string): (Omit<Claim, "planId"> & { signature: Hex }) | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(proof);
  } catch {
    return undefined;
  }
  const { nonce, deadline, signature } = Object(parsed) as Record<string, unknown>;
  if (!isBytes(nonce, 32) || !isBytes(signature, 65)) return undefined;
  if (typeof deadline !== "number" || !Number.isSafeInteger(deadline)) return undefined;
  return { nonce, deadline, signature };
}

function isBytes(value: unknown, count: number): value is Hex {
  return isHex(value) && value.length === 2 + 2 * count;
}
