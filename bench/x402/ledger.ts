/** The ledger, in a process of its own: it must not be in the way of what is measured. */

import { createLedger } from "../../dist/ledger/index.js";
import type { FromLedger, LedgerSettings, ToLedger } from "./messages.ts";

const { planId, holders, delayMs }: LedgerSettings = JSON.parse(process.argv[2] ?? "");
const ledger = await createLedger();
for (const holderAddress of holders) ledger.mint({ planId, holderAddress, amount: 1_000_000 });
ledger.setFaults({
  "delay-before-applying": { rate: 1, ms: delayMs, on: ["verify", "settle"] },
});

const tell = (message: FromLedger) => void process.send?.(message);
process.on("message", async (message: ToLedger) => {
  if (message.kind === "fail") {
    ledger.failNext(message.fault, { ...message.details, on: "settle" });
  } else if (message.kind === "count") {
    const burns = ledger.countBurns({ holderAddress: message.holder });
    tell({ kind: "counted", burns });
  } else {
    await ledger.close();
    if (process.connected) process.disconnect();
  }
});
// Nobody stays when the parent has gone.
process.once("disconnect", () => process.exit());

const buyerKeys = holders.map((holder) => ledger.addBuyer(holder));
tell({ kind: "open", baseUrl: ledger.baseUrl, apiKey: ledger.key, buyerKeys });
