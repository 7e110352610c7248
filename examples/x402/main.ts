/**
 * `npm run example:x402`: an API that is paid with x402, an embedded ledger, and one request of a buyer in a
 * process of its own. No account, no key and no network are needed.
 */

import { fork } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import express from "express";
import { creditMeter } from "express-credit-meter";
import { createLedger } from "express-credit-meter/ledger";

const planId = "105906633592154016712415751065229075315413571";
const holderAddress = "0x5B38Da6a701c568545dCfcB03FcB875f56beddC4";

const ledger = await createLedger();
ledger.mint({ planId, holderAddress, amount: 100 });

// Buyers are told where they find the API, so its port comes first.
const app = express();
const server = createServer(app).listen(0, "127.0.0.1");
await once(server, "listening");
const publicUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

const quiet = () => {};
const meter = creditMeter({
  protocol: "x402",
  x402: { publicUrl },
  apiKey: ledger.key,
  environment: { name: "embedded", baseUrl: ledger.baseUrl },
  plans: [planId],
  routes: { "POST /v1/embeddings": 2 },
  journal: "memory",
  logger: { debug: quiet, info: quiet, warn: quiet, error: quiet },
});
app.use(meter);
app.post("/v1/embeddings", (_req, res) => void res.json({ data: [{ embedding: [0.1, 0.2] }] }));

const buyer = fork(
  path.join(import.meta.dirname, "../x402-buyer.ts"),
  [`${publicUrl}/v1/embeddings`, '{"input":"What is a credit?"}'],
  {
    env: { ...process.env, LEDGER_URL: ledger.baseUrl, BUYER_KEY: ledger.addBuyer(holderAddress) },
  },
);
process.once("exit", () => buyer.kill("SIGKILL"));
const [code] = await once(buyer, "exit");

server.close();
server.closeAllConnections();
await meter.close({ deadlineMs: 5_000 });
for (const { amount, agentRequestId } of ledger.burns()) {
  console.log(`  ledger    burned ${amount} credits for the request ${agentRequestId}`);
}
process.exitCode = code === 0 && ledger.countBurns() === 1 ? 0 : 1;
await ledger.close();
