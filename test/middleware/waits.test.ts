/** How long one request waits, in all, over real sockets and by a clock that the test moves. */

import express, { type Request } from "express";
import { expect, test } from "vitest";
import type { Waits } from "../../src/clock.ts";
import type { Hold } from "../../src/guard/hold.ts";
import { createMeter, type MeterParts } from "../../src/middleware/meter.ts";
import { readHeaders } from "../../src/middleware/payment.ts";
import { createRouteTable } from "../../src/middleware/route-table.ts";
import { openRedemption } from "../../src/redemption.ts";
import { payment, plan } from "../support/api.ts";
import { manualClock } from "../support/clock.ts";
import { deferred, listen } from "../support/server.ts";

const names = {
  planId: "Nevermined-Plan-Id",
  holderAddress: "Nevermined-Holder-Address",
  proof: "Nevermined-Proof",
};

/** A meter whose guard and journal answer when the test says so. */
function openMeter() {
  const clock = manualClock();
  const asked = deferred();
  const balance = deferred();
  const reserving = deferred();
  const hold: Hold = {
    credits: () => 1,
    change: () => undefined,
    share: () => undefined,
    end() {},
  };
  const guard = {
    admit(_payment: unknown, _credits: number, waits: Waits) {
      const answered = waits.within(balance.promise);
      asked.resolve();
      return answered.then(() => hold);
    },
    learn() {},
    exposure: () => 0,
  };
  const redemptions = {
    hasRoom: () => true,
    refusal: () => undefined,
    open: () => {
      const { planId, holderAddress } = { planId: plan, holderAddress: "0x" };
      const opening = { redemptionId: "id", planId, holderAddress, route: "", environment: "test" };
      return openRedemption(opening as never, 0).redemption;
    },
    reserve: () => {
      reserving.resolve();
      return new Promise(() => {});
    },
    decide() {},
  };
  const meter = createMeter({
    routes: createRouteTable(
      { "POST /": { price: 1 } },
      () => false,
      () => 1,
    ),
    unlisted: "free",
    readPayment: (req: Request) => readHeaders(req, names),
    plans: [plan],
    guard,
    singleUse: true,
    redemptions,
    abortGraceMs: 0,
    strict: false,
    waitMs: 5_000,
    clock,
    onMismatch: () => {},
    checkSetup: () => undefined,
  } as unknown as MeterParts);
  return { meter, clock, asked, balance, reserving };
}

test("a balance and a journal that are slow share one deadline", async () => {
  const { meter, clock, asked, balance, reserving } = openMeter();
  const app = express();
  app.use(meter.byTable);
  const { url } = await listen(app);
  const answering = fetch(url, { method: "POST", headers: payment });
  await asked.promise;
  clock.pass(4_000);
  balance.resolve();
  await reserving.promise;
  clock.pass(1_000);
  const answer = await answering;
  expect([answer.status, ((await answer.json()) as { code: string }).code]).toEqual([
    503,
    "journal-failing",
  ]);
});
