/**
 * `npm start`: an embedded ledger with a funded holder, and an AI API that charges it. No account,
 * no key and no network are needed.
 */

import { once } from "node:events";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createLedger, type Ledger } from "express-credit-meter/ledger";
import { createApi } from "./api.ts";
import { chooseModel } from "./model.ts";

const buyer = {
  planId: "105906633592154016712415751065229075315413571",
  holderAddress: "0x5B38Da6a701c568545dCfcB03FcB875f56beddC4",
  proof: "0xdemo",
};

async function main() {
  const ports = { ledger: portFrom("LEDGER_PORT", 8402), api: portFrom("PORT", 3000) };
  const ledger = await createLedger({ port: ports.ledger });
  try {
    await serve(ledger, ports.api);
  } catch (error) {
    // It would keep the process alive.
    await ledger.close();
    throw error;
  }
}

async function serve(ledger: Ledger, port: number) {
  ledger.mint({ planId: buyer.planId, holderAddress: buyer.holderAddress, amount: 10_000 });

  const model = chooseModel(process.env);
  const { app, meter } = createApi({
    model,
    meter: {
      apiKey: ledger.key,
      environment: { name: "embedded", baseUrl: ledger.baseUrl },
      plans: [buyer.planId],
      // The embedded ledger honours the redemption id, so that a lost answer is asked for again.
      idempotent: { windowMs: 86_400_000 },
      // One chat's hold: more than that a holder does not owe while the ledger is away.
      guard: { creditLine: 4_000 },
    },
  });
  const server = app.listen(port, "127.0.0.1");
  await once(server, "listening");
  console.log(welcome(ledger, server, model.name));

  const stop = async () => {
    // In this order: no new requests, then the charges of the last ones, then their ledger.
    server.close();
    server.closeIdleConnections();
    await meter.close({ deadlineMs: 5_000 });
    server.closeAllConnections();
    await ledger.close();
  };
  process.once("SIGINT", stop);
  process.once("SIGTERM", stop);
}

function welcome(ledger: Ledger, server: Server, model: string): string {
  const api = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const paid = [
    "-H 'Content-Type: application/json'",
    `-H 'Nevermined-Plan-Id: ${buyer.planId}'`,
    `-H 'Nevermined-Holder-Address: ${buyer.holderAddress}'`,
    `-H 'Nevermined-Proof: ${buyer.proof}'`,
  ].join(" ");
  const messages = '"messages":[{"role":"user","content":"What is a credit?"}]';
  return `
API     ${api}   (model: ${model})
Ledger  ${ledger.baseUrl}   (a holder with ${ledger.balance(buyer.planId, buyer.holderAddress)} credits)

A paid call, priced by its tokens:
curl -si ${api}/v1/chat/completions ${paid} -d '{${messages}}'; echo

The same, streamed:
curl -sN ${api}/v1/chat/completions ${paid} -d '{"stream":true,${messages}}'

A call at a fixed price of 2 credits:
curl -s ${api}/v1/embeddings ${paid} -d '{"input":"What is a credit?"}'; echo

Without payment (402):
curl -si ${api}/v1/embeddings -H 'Content-Type: application/json' -d '{"input":"What is a credit?"}'; echo

The balance afterwards:
curl -s ${ledger.baseUrl}/protocol/plans/${buyer.planId}/balance/${buyer.holderAddress}; echo

Every redemption is logged below. Ctrl-C ends it.
`;
}

function portFrom(variable: string, fallback: number): number {
  const value = process.env[variable];
  const port = value === undefined || value === "" ? fallback : Number(value);
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port;
  throw new Error(`${variable} must be a port from 0 to 65535; it is "${value}".`);
}

main().catch((error: NodeJS.ErrnoException) => {
  console.error(error.message);
  if (error.code === "EADDRINUSE") {
    console.error("Choose other ports: PORT=3001 LEDGER_PORT=8403 npm start");
  }
  process.exitCode = 1;
});
