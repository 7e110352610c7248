import request from "supertest";
import { expect, test } from "vitest";
import { meteredApi, payment, plan } from "../../support/api.ts";
import { listen } from "../../support/server.ts";

/** A ledger that resets the first question of each kind. */
async function resetting(answers: Readonly<Record<string, object>>) {
  const reset = new Set<string>();
  const { url } = await listen((req, res) => {
    const [kind = ""] = Object.keys(answers).filter((it) => req.url?.includes(it));
    const isFirst = kind !== "settle" && kind !== "redeem" && !reset.has(kind);
    reset.add(kind);
    req.resume();
    req.on("end", () => {
      if (isFirst) req.socket.resetAndDestroy();
      else res.end(JSON.stringify(answers[kind]));
    });
  });
  return { environment: { name: "resets", baseUrl: `${url}/api/v1` }, reset };
}

const routes = { "POST /": 2 };
const build: Parameters<typeof meteredApi>[1] = (app, meter) => {
  app.use(meter);
  app.post("/", (_req, res) => void res.json({}));
};

test("one reset of a question refuses nobody: a token is verified all the same (F4)", async () => {
  const { environment, reset } = await resetting({
    verify: { isValid: true, agentRequestId: "id-1" },
    settle: { success: true, creditsRedeemed: "2" },
  });
  const { url, meter, settled } = await meteredApi(
    {
      ...{ environment, routes, guard: { balance: "never" } },
      ...{ protocol: "x402", x402: { publicUrl: "https://api.example.com" } },
    },
    build,
  );
  const accepted = { scheme: "nvm:erc4337", network: "eip155:84532", planId: plan };
  const payload = { authorization: { from: `0x${"ab".repeat(20)}` }, signature: "0x" };
  const token = JSON.stringify({ x402Version: 2, accepted, payload, extensions: {} });
  const signature = Buffer.from(token).toString("base64");
  expect((await request(url).post("/").set("payment-signature", signature)).status).toBe(200);
  await meter.flush();
  expect(settled).toMatchObject([{ status: "completed" }]);
  expect(reset.has("verify")).toBe(true);
});

test("nor does one of a question about a balance, for a ledger that is needed (F4)", async () => {
  const { environment } = await resetting({
    balance: { balance: 100 },
    redeem: { success: true, creditsRedeemed: 2, remainingBalance: 98 },
  });
  const { url } = await meteredApi(
    { environment, routes, guard: { onLedgerDown: "refuse" } },
    build,
  );
  expect((await request(url).post("/").set(payment)).status).toBe(200);
});
