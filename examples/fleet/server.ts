/** One process of the fleet: an API behind a meter, as any of yours. Only `process.send` belongs to the example. */

import { once } from "node:events";
import type { AddressInfo } from "node:net";
import express from "express";
import { creditMeter } from "express-credit-meter";
import type { FromServer, RecordSeen, ServerSettings, ToServer } from "./messages.ts";

const settings = JSON.parse(process.argv[2] ?? "") as ServerSettings;
const tell = (message: FromServer) => process.send?.(message);

const quiet = () => {};
const meter = creditMeter({
  apiKey: settings.ledger.key,
  environment: { name: "embedded", baseUrl: settings.ledger.baseUrl },
  plans: [settings.plan],
  routes: { "POST /v1/answers": 1 },
  // All that makes it a fleet: the same journal in every process.
  journal: settings.journal,
  logger: { debug: quiet, info: quiet, warn: pass, error: pass },
});

/** Passes on what concerns the process; what became of single charges is counted in the end. */
function pass(fields: object, line: string) {
  if ("redemptionId" in fields) return;
  const count = "count" in fields ? ` (${fields.count})` : "";
  tell({ kind: "log", line: `${line}${count}` });
}

const app = express();
app.use(meter);
app.post("/v1/answers", (_req, res) => void res.json({ place: settings.place }));
const server = app.listen(0, "127.0.0.1");
await once(server, "listening");
tell({ kind: "ready", port: (server.address() as AddressInfo).port });

/** The journal is one: any process of the fleet lists what all of them remember. */
async function listAll(): Promise<RecordSeen[]> {
  const records: RecordSeen[] = [];
  let after: number | undefined;
  do {
    const page = await meter.redemptions.list({ limit: 1_000, ...(after && { after }) });
    records.push(...page.redemptions.map(({ redemptionId, status }) => ({ redemptionId, status })));
    after = page.next ?? undefined;
  } while (after !== undefined);
  return records;
}

process.on("message", async (message: ToServer) => {
  if (message.kind === "list") return void tell({ kind: "records", records: await listAll() });
  server.close();
  server.closeAllConnections();
  await meter.close({ deadlineMs: 5_000 });
  process.disconnect();
});
// Nobody stays when the example has gone.
process.once("disconnect", () => process.exit());
