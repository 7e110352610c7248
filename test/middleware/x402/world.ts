import { buying, tokenOf, verify } from "../../ledger/x402-wire.ts";

/** A token that is bound to a resource, and a way to ask the embedded ledger about it. */
export async function verificationOf(url: string) {
  const { ledger } = await buying(5);
  const token = await tokenOf(ledger, { resource: { url } });
  return {
    token,
    verify: async (paymentRequired: object) =>
      (await verify(ledger, token, { paymentRequired })).body,
  };
}
