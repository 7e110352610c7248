/**
 * A process of its own that charges once: `node --import tsx ghost-child.ts <journal> <base URL> <start>
 * <when>`. Where `when` is "before", it stops itself (SIGSTOP) when the charge is durably taken, and no
 * byte of it is written. Each line that it writes is out before it goes on.
 */

import { writeSync } from "node:fs";
import { createNeverminedClient } from "../../src/client/nevermined.ts";
import { encodeRedeem } from "../../src/client/wire.ts";
import { openPostgresJournal } from "../../src/journal/postgres.ts";
import { openSqliteJournal } from "../../src/journal/sqlite.ts";
import { createRedeemer } from "../../src/redeemer/redeemer.ts";
import { fastClocks } from "./fast-clocks.ts";

const [place = "", baseUrl = "", start = "", when = ""] = process.argv.slice(2);
const journalPlace = JSON.parse(place);
const { now, elapsed } = fastClocks(Number(start));

function tell(line: object) {
  writeSync(1, `${JSON.stringify(line)}\n`);
}

const client = createNeverminedClient({
  baseUrl,
  redeemPath: "/protocol/plans/redeem",
  apiKey: "nvm:dev-key",
  connections: 4,
  timeoutMs: 60_000,
  honoursIds: false,
  now,
  elapsed,
});

const redeemer = createRedeemer({
  journal:
    typeof journalPlace === "string"
      ? openSqliteJournal(journalPlace)
      : openPostgresJournal(journalPlace),
  owner: "ghost",
  concurrency: 2,
  perHolder: 2,
  backoff: { baseMs: 100, maxMs: 1_000 },
  circuitThreshold: 5,
  idempotentMs: null,
  timeoutMs: 30_000,
  retentionMs: 86_400_000,
  encode: encodeRedeem,
  async send(charge, ...rest) {
    tell({ kind: "taken" });
    if (when === "before") process.kill(process.pid, "SIGSTOP");
    const answer = await client.redeem(charge, ...rest);
    tell({ kind: "answer", answer });
    return answer;
  },
  askBalance: client.balance,
  verify: client.verify,
  end: client.close,
  tell,
  now,
  elapsed,
  random: Math.random,
});

redeemer.submit([
  {
    redemptionId: "charge",
    status: "pending",
    planId: "1059",
    holderAddress: `0x${"ab".repeat(20)}`,
    proof: "proof",
    route: "POST /",
    environment: "test",
    amount: 3,
    hold: 0,
    usage: null,
    error: null,
    repeatable: true,
    expiresAt: null,
    admittedAt: now(),
  },
]);
setInterval(() => {}, 60_000);
