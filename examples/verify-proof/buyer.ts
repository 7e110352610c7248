/** What a buyer does: sign a proof for one request, and send it. */

import { randomBytes } from "node:crypto";
import { type LocalAccount, toHex } from "viem";
import { type Claim, type ProofDomain, typedDataOf } from "./eip712.ts";

/** The three headers of a request, with a proof that is good for a minute and for one request. */
export async function pay(
  account: LocalAccount,
  domain: ProofDomain,
  planId: string,
): Promise<Record<string, string>> {
  const claim: Claim = {
    planId,
    nonce: toHex(randomBytes(32)),
    deadline: Math.floor(Date.now() / 1_000) + 60,
  };
  return {
    "Nevermined-Plan-Id": planId,
    "Nevermined-Holder-Address": account.address,
    "Nevermined-Proof": await sign(account, domain, claim),
  };
}

/** The proof of a claim. */
export async function sign(
  account: LocalAccount,
  domain: ProofDomain,
  claim: Claim,
): Promise<string> {
  const signature = await account.signTypedData(typedDataOf(domain, claim));
  return JSON.stringify({ nonce: claim.nonce, deadline: claim.deadline, signature });
}
