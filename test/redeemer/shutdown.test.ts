import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import request from "supertest";
import { describe, expect, onTestFinished, test } from "vitest";
import type { CreditMeterOptions } from "../../src/index.ts";
import { meteredApi, payment } from "../support/api.ts";
import { connect, deferred } from "../support/server.ts";

async function api(options: Partial<CreditMeterOptions> = {}) {
  const gate = deferred();
  const started = deferred();
  const built = await meteredApi(
    { routes: { "POST /": 1, "POST /slow": 2 }, ...options },
    (app, meter) => {
      app.use(meter);
      app.post("/", (_req, res) => void res.json({}));
      app.post("/slow", (_req, res) => {
        started.resolve();
        void gate.promise.then(() => res.json({}));
      });
    },
  );
  return { ...built, gate, started };
}

describe("close", () => {
  test("refuses new requests, waits for those under way, and charges them", async () => {
    const { meter, ledger, url, gate, started } = await api();
    const slow = request(url)
      .post("/slow")
      .set(payment)
      .then((response) => response.status);
    await started.promise;
    const closing = meter.close();
    const refused = await request(url).post("/").set(payment).expect(503);
    expect(refused.body.code).toBe("closing");
    expect(refused.headers["retry-after"]).toBe("1");
    gate.resolve();
    expect(await slow).toBe(200);
    expect(await closing).toEqual({ left: [] });
    expect(ledger.burns()).toMatchObject([{ amount: 2 }]);
  });

  test("is idempotent", async () => {
    const { meter } = await api();
    expect(meter.close()).toBe(meter.close({ deadlineMs: 5 }));
    await meter.close();
  });

  test.each([
    ["a file", "journal.db", 0],
    // It ends with the meter: without this line it would be lost in silence.
    ["memory", undefined, 1],
  ])("at its deadline returns what waits in the journal: %s", async (_name, file, errors) => {
    const folder = mkdtempSync(path.join(tmpdir(), "shutdown-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const { meter, ledger, url, lines } = await api(
      file === undefined ? {} : { journal: path.join(folder, file) },
    );
    await ledger.goAway();
    const { headers } = await request(url).post("/").set(payment).expect(200);
    const { left } = await meter.close({ deadlineMs: 20 });
    expect(left).toMatchObject([{ redemptionId: headers["redemption-id"], status: "pending" }]);
    const told = lines.filter(({ level }) => level === "error");
    expect(told).toHaveLength(errors);
  });

  test("at its deadline what is on the wire becomes unresolved, not forgotten", async () => {
    const { meter, ledger, url, settled } = await api();
    ledger.failNext("hang-before-applying");
    await request(url).post("/").set(payment).expect(200);
    await ledger.hanging();
    expect(await meter.close({ deadlineMs: 1 })).toEqual({ left: [] });
    expect(settled).toMatchObject([{ status: "unresolved", error: { reason: "answer-lost" } }]);
  });

  test("a response that ends after it is logged as not charged", async () => {
    const { meter, port, gate, started, lines, ledger } = await api();
    const client = await connect(port, { ...payment, Connection: "close" });
    client.send("POST /slow");
    await started.promise;
    const { left } = await meter.close({ deadlineMs: 1 });
    expect(left).toHaveLength(1);
    gate.resolve();
    await once(client.socket, "close");
    expect(lines.filter(({ level }) => level === "error")).toMatchObject([
      { fields: { requestedAmount: null } },
      { fields: { requestedAmount: 2 } },
    ]);
    expect(ledger.countBurns()).toBe(0);
  });
});

describe("a ledger that comes back", () => {
  test("gets every charge of the time in which it was away, once", async () => {
    const { meter, ledger, url, settled, lines } = await api();
    await ledger.goAway();
    const ids: string[] = [];
    for (let count = 0; count < 20; count += 1) {
      const { headers } = await request(url).post("/").set(payment).expect(200);
      ids.push(String(headers["redemption-id"]));
    }
    await ledger.comeBack();
    await meter.flush();
    expect(
      ledger
        .burns()
        .map(({ idempotencyKey }) => idempotencyKey)
        .sort(),
    ).toEqual(ids.sort());
    expect(settled.every(({ status }) => status === "completed")).toBe(true);
    const waiting = lines.filter(({ fields }) => fields.status === undefined);
    expect(waiting.map(({ level, message }) => [level, message.split(/[:;] /)[0]])).toEqual([
      ["warn", "The ledger does not tell balances"],
      ["warn", "Charges wait to be sent again"],
      ["warn", "Sending pauses"],
      ["info", "The ledger answers again"],
      ["info", "Sending goes on."],
    ]);
  });

  test.each([
    ["throttles", "throttle-before-applying", { retryAfter: 0 }],
    [
      "says that its identity provider is away",
      "error-before-applying",
      { status: 503, code: "BCK.AUTH.0014" },
    ],
    ["does not know the key", "refuse-before-applying", { status: 401 }],
  ] as const)("one that %s is asked again with the same id", async (_name, fault, details) => {
    const { meter, ledger, url } = await api();
    ledger.failNext(fault, { ...details, times: 3 } as never);
    const { headers } = await request(url).post("/").set(payment).expect(200);
    await meter.flush();
    expect(ledger.burns()).toMatchObject([{ idempotencyKey: headers["redemption-id"] }]);
  });

  test("100 at once are each charged once", async () => {
    const { meter, ledger, url } = await api();
    await Promise.all(
      Array.from({ length: 100 }, () => request(url).post("/").set(payment).expect(200)),
    );
    await meter.flush();
    expect(new Set(ledger.burns().map(({ idempotencyKey }) => idempotencyKey)).size).toBe(100);
    expect(ledger.countBurns()).toBe(100);
  });
});

test("a process that ends with charges in memory names each of them", () => {
  const child = path.join(import.meta.dirname, "memory-child.ts");
  const { stdout, status } = spawnSync(process.execPath, ["--import", "tsx", child], {
    encoding: "utf8",
    timeout: 30_000,
  });
  expect(status).toBe(0);
  const { redemptionId, ...told } = JSON.parse(stdout.trim().split("\n").at(-1) ?? "");
  expect(told).toEqual({ level: "error", requestedAmount: 3 });
  expect(stdout).toContain(`admitted ${redemptionId}\n`);
});
