/** A program that ends by itself while its ledger is away, and a charge waits in memory. */

import type { AddressInfo } from "node:net";
import express from "express";
import { creditMeter } from "../../src/index.ts";

const quiet = () => {};
const meter = creditMeter({
  apiKey: "nvm:test",
  environment: { name: "away", baseUrl: "http://127.0.0.1:1" },
  plans: ["plan"],
  routes: { "POST /": 3 },
  journal: "memory",
  inline: true,
  logger: {
    debug: quiet,
    info: quiet,
    warn: quiet,
    error(fields, _line) {
      const { redemptionId, requestedAmount } = fields as Record<string, unknown>;
      console.log(JSON.stringify({ level: "error", redemptionId, requestedAmount }));
    },
  },
});
const app = express();
app.use(meter);
app.post("/", (_req, res) => void res.json({}));
const server = app.listen(0, "127.0.0.1", async () => {
  const { port } = server.address() as AddressInfo;
  const response = await fetch(`http://127.0.0.1:${port}/`, {
    method: "POST",
    headers: {
      "Nevermined-Plan-Id": "plan",
      "Nevermined-Holder-Address": `0x${"ab".repeat(20)}`,
      "Nevermined-Proof": "proof",
    },
  });
  console.log(`admitted ${response.headers.get("redemption-id")}`);
  server.close();
  server.closeAllConnections();
});
