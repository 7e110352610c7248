/**
 * `npm run example:verify-proof`: an API that checks proofs before its handler runs, and three requests
 * to it: a paid one, a forged one and one whose proof was used before. No account, no key and no network
 * are needed.
 */

import { once } from "node:events";
import type { AddressInfo } from "node:net";
import express from "express";
import { creditMeter } from "express-credit-meter";
import { createLedger } from "express-credit-meter/ledger";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { pay } from "./buyer.ts";
import { eip712Verifier, type ProofDomain } from "./eip712.ts";

const planId = "105906633592154016712415751065229075315413571";
const domain: ProofDomain = { name: "Example AI API", version: "1", chainId: 84_532 };

const holder = privateKeyToAccount(generatePrivateKey());
const thief = privateKeyToAccount(generatePrivateKey());

const ledger = await createLedger();
ledger.mint({ planId, holderAddress: holder.address, amount: 100 });

const meter = creditMeter({
  apiKey: ledger.key,
  environment: { name: "embedded", baseUrl: ledger.baseUrl },
  plans: [planId],
  routes: { "POST /v1/embeddings": 2 },
  guard: { verifyProof: eip712Verifier({ domain }), proofs: "single-use" },
  // Spent nonces are in it too: an API that lives on needs a file here.
  journal: "memory",
});
const app = express();
app.use(meter);
app.post("/v1/embeddings", (_req, res) => void res.json({ data: [] }));
const server = app.listen(0, "127.0.0.1");
await once(server, "listening");

async function request(what: string, headers: Record<string, string>) {
  const { port } = server.address() as AddressInfo;
  const response = await fetch(`http://127.0.0.1:${port}/v1/embeddings`, {
    method: "POST",
    headers,
  });
  const { code = "" } = (await response.json()) as { code?: string };
  console.log(`${what}: ${response.status} ${code}`.trimEnd());
}

const paid = await pay(holder, domain, planId);
await request("paid", paid);
const forged = await pay(thief, domain, planId);
await request("forged", { ...forged, "Nevermined-Holder-Address": holder.address });
await request("repeated", paid);

server.close();
server.closeAllConnections();
await meter.close({ deadlineMs: 5_000 });
console.log(`left: ${ledger.balance(planId, holder.address)} of 100 credits`);
await ledger.close();
