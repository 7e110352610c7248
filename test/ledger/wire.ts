import { randomUUID } from "node:crypto";
import { request } from "undici";
import { afterEach } from "vitest";
import { createLedger, type Ledger, type LedgerOptions } from "../../src/ledger/index.ts";
import { judgeAnswer } from "../contract/contract.ts";

export const holder = "0xAb5801a7D398351b8bE11C439e05C5B3259aeC9B";
export const plan =
  "105906633592154016758765410316205104987611087612345678901234567890123456789012";

/** What came back over the wire. */
export interface Said {
  status: number;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into what came
  body: any;
  headers: Record<string, string | string[] | undefined>;
}

const open: Ledger[] = [];
afterEach(async () => {
  for (const ledger of open.splice(0)) await ledger.close();
});

/** A ledger that is closed after the test, where the holder has credits of the plan. */
export async function funded(credits: number, options: LedgerOptions = {}): Promise<Ledger> {
  const ledger = await createLedger(options);
  open.push(ledger);
  if (credits > 0) ledger.mint({ planId: plan, holderAddress: holder, amount: credits });
  return ledger;
}

type Body = Record<string, unknown> | string;
type Headers = Record<string, string | undefined>;

/** One request on a connection of its own, as any client might send it. */
export async function send(
  ledger: Ledger,
  method: "GET" | "POST",
  path: string,
  body?: Body,
  headers: Headers = {},
): Promise<Said> {
  const given = {
    authorization: `Bearer ${ledger.key}`,
    "content-type": "application/json",
    ...headers,
  };
  const sent = Object.fromEntries(
    Object.entries(given).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
  const answer = await request(`${ledger.baseUrl}${path}`, {
    method,
    headers: sent,
    reset: true,
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  const text = await answer.body.text();
  return { status: answer.statusCode, text, body: read(text), headers: answer.headers };
}

/** A redemption of 1 credit unless told otherwise, its answer judged by the contract. */
export async function redeem(
  ledger: Ledger,
  body: Record<string, unknown> = {},
  headers: Headers = {},
) {
  const full = { planId: plan, holderAddress: holder, amount: 1, proof: "0x1", ...body };
  const said = await send(ledger, "POST", "/protocol/plans/redeem", full, headers);
  judgeAnswer("redeem", said.status, said.text);
  return said;
}

export async function mint(
  ledger: Ledger,
  body: Record<string, unknown> = {},
  headers: Headers = {},
) {
  const full = { planId: plan, holderAddress: holder, amount: 1, ...body };
  const said = await send(ledger, "POST", "/protocol/plans/mint", full, headers);
  judgeAnswer("mint", said.status, said.text);
  return said;
}

export async function balance(
  ledger: Ledger,
  planId: string = plan,
  holderAddress: string = holder,
) {
  const path = `/protocol/plans/${encodeURIComponent(planId)}/balance/${holderAddress}`;
  const said = await send(ledger, "GET", path, undefined, { authorization: undefined });
  judgeAnswer("balance", said.status, said.text);
  return said;
}

/** A key of idempotency that nobody else has. */
export function key(): { "idempotency-key": string } {
  return { "idempotency-key": randomUUID() };
}

function read(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
