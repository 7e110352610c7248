/** Another seller of the same plan, who burns credits that this meter does not hear of. */

import type { Ledger } from "../../src/ledger/index.ts";
import { plan } from "./crowd.ts";

export async function redeemElsewhere(
  { baseUrl, key }: Ledger,
  holderAddress: string,
  amount: number,
): Promise<void> {
  const response = await fetch(`${baseUrl}/protocol/plans/redeem`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({ planId: plan, holderAddress, amount, proof: "0xee" }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`The other seller could not redeem: ${text}`);
}
