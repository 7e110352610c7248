import request from "supertest";
import { expect, test } from "vitest";
import { meteredApi, payment } from "./support/api.ts";
import { listen } from "./support/server.ts";

/** A meter on a server that answers each charge with the next of these. */
async function charged(...replies: object[]) {
  const { url } = await listen((req, res) => {
    const isCharge = req.method === "POST";
    res.end(JSON.stringify(isCharge ? replies.shift() : { balance: 1_000 }));
  });
  const { lines, meter, settled, ...api } = await meteredApi(
    { environment: { name: "gateway", baseUrl: `${url}/api/v1` }, routes: { "POST /": 1 } },
    (app, meter) => {
      app.use(meter);
      app.post("/", (_req, res) => void res.json({}));
    },
  );
  for (const _ of [...replies]) {
    expect((await request(api.url).post("/").set(payment)).status).toBe(200);
    await meter.flush();
  }
  expect(new Set(settled.map(({ status }) => status))).toEqual(new Set(["completed"]));
  return lines.filter(({ level }) => level === "warn").map(({ message }) => message);
}

const told = { success: true, creditsRedeemed: 1, remainingBalance: 9 };

test("three answers in a row that name no credits are one warning (E20)", async () => {
  const warnings = await charged({}, {}, {}, {}, {});
  expect(warnings).toEqual([expect.stringContaining("name neither credits nor a balance")]);
});

test("they are told again after an answer that named some (E20)", async () => {
  expect(await charged({}, {}, {}, told, {}, {}, {})).toHaveLength(2);
});

test("two of them, or others in between, are none (E20)", async () => {
  const onlyBalance = { success: true, remainingBalance: 9 };
  expect(await charged({}, {}, told, {}, {}, onlyBalance, {})).toEqual([]);
});
