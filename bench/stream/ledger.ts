/** The ledger, in a process of its own: it must not be in the way of what is measured. */

import { createLedger } from "../../dist/ledger/index.js";
import type { FromLedger, LedgerSettings } from "./messages.ts";

const { plan: planId, holders }: LedgerSettings = JSON.parse(process.argv[2] ?? "");
const ledger = await createLedger();
for (const holderAddress of holders) ledger.mint({ planId, holderAddress, amount: 1_000_000 });

const stop = async () => {
  await ledger.close();
  if (process.connected) process.disconnect();
};
process.once("message", stop);
// Nobody stays when the parent has gone.
process.once("disconnect", () => process.exit());

const open: FromLedger = { kind: "open", baseUrl: ledger.baseUrl, apiKey: ledger.key };
process.send?.(open);
