/** The ledger, in a process of its own: it must not be in the way of what is measured. */

import { createLedger } from "../../dist/ledger/index.js";
import { holders, plan as planId } from "../charges.ts";
import type { FromLedger } from "./messages.ts";

const delayMs = Number(process.argv[2] ? JSON.parse(process.argv[2]) : 0);
const ledger = await createLedger({
  ...(delayMs > 0 && {
    faults: { "delay-before-applying": { rate: 1, ms: [delayMs, delayMs] } },
  }),
});
for (const holderAddress of holders) ledger.mint({ planId, holderAddress, amount: 1e12 });

// Nobody stays when the parent has gone.
process.once("disconnect", () => process.exit());
const open: FromLedger = { kind: "open", baseUrl: ledger.baseUrl, key: ledger.key };
process.send?.(open);
