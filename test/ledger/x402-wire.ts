import type { Ledger, LedgerOptions } from "../../src/ledger/index.ts";
import { judgeAnswer } from "../contract/contract.ts";
import { funded, holder, plan, type Said, send } from "./wire.ts";

export const network = "eip155:84532";
const accepts = { scheme: "nvm:erc4337", network, planId: plan };

/** What a seller's 402 says, for the plan unless told otherwise. */
export function required(accepted: object = {}, url = "/v1/paid") {
  return {
    x402Version: 2,
    resource: { url },
    accepts: [{ ...accepts, ...accepted }],
    extensions: {},
  };
}

/** A ledger where the holder has credits and an access token. */
export async function buying(credits: number, options: LedgerOptions = {}) {
  const ledger = await funded(credits, { plans: { [plan]: {} }, ...options });
  return { ledger, token: await tokenOf(ledger) };
}

/** Asks for a token with the buyer's own key. */
export async function permissions(
  ledger: Ledger,
  body: Record<string, unknown> | string = {},
  key = ledger.addBuyer(holder),
): Promise<Said> {
  const full = typeof body === "string" ? body : { accepted: { ...accepts, extra: {} }, ...body };
  const said = await send(ledger, "POST", "/x402/permissions", full, {
    authorization: `Bearer ${key}`,
  });
  judgeAnswer("permissions", said.status, said.text);
  return said;
}

export async function tokenOf(ledger: Ledger, body = {}, holderAddress = holder): Promise<string> {
  return (await permissions(ledger, body, ledger.addBuyer(holderAddress))).body.accessToken;
}

type Fields = Record<string, unknown>;

/** Asks whether a token pays 1 credit, unless told otherwise. */
export function verify(ledger: Ledger, token: string, fields: Fields = {}, headers = {}) {
  return ask("verify", ledger, token, fields, headers);
}

/** Settles 1 credit unless told otherwise. */
export function settle(ledger: Ledger, token: string, fields: Fields = {}, headers = {}) {
  return ask("settle", ledger, token, fields, headers);
}

async function ask(
  endpoint: "verify" | "settle",
  ledger: Ledger,
  x402AccessToken: string,
  fields: Fields,
  headers: object,
): Promise<Said> {
  const body = { paymentRequired: required(), x402AccessToken, maxAmount: "1", ...fields };
  const said = await send(ledger, "POST", `/x402/${endpoint}`, body, { ...headers });
  judgeAnswer(endpoint, said.status, said.text);
  return said;
}

/** The payload of a token, changed, as a token again. */
// biome-ignore lint/suspicious/noExplicitAny: tests change whatever there is
export function changed(token: string, change: (payload: any) => void): string {
  const payload = JSON.parse(Buffer.from(token, "base64").toString());
  change(payload);
  return Buffer.from(JSON.stringify(payload)).toString("base64");
}
