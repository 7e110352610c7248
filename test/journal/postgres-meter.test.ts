/** Whole meters on a journal in PostgreSQL. */

import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import pg from "pg";
import request from "supertest";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import type { CreditMeterOptions } from "../../src/index.ts";
import { meteredApi, payment } from "../support/api.ts";
import { startPostgres, type TestPostgres } from "../support/postgres.ts";

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startPostgres();
}, 60_000);
afterAll(() => postgres?.stop());

const place = () => ({
  postgres: postgres.url,
  schema: `test_${randomUUID().replaceAll("-", "")}`,
});

async function folder() {
  const made = await mkdtemp(path.join(tmpdir(), "fleet-"));
  onTestFinished(() => rm(made, { recursive: true, force: true }));
  return made;
}

async function api(options: Partial<CreditMeterOptions>, credits = 100) {
  const build: Parameters<typeof meteredApi>[1] = (app, meter) => {
    app.use(meter);
    app.post("/", (_req, res) => void res.json({}));
  };
  const built = await meteredApi({ routes: { "POST /": 1 }, ...options }, build, { credits });
  const post = (headers: Record<string, string> = {}) =>
    request(built.url)
      .post("/")
      .set({ ...payment, ...headers })
      .then(({ status }) => status);
  return { ...built, post };
}

test("two processes of a fleet charge each request once, and know of each other's", async () => {
  const journal = place();
  const one = await api({ journal });
  const ledger = { name: "embedded", baseUrl: one.ledger.baseUrl };
  const two = await api({ journal, environment: ledger });
  const statuses = await Promise.all(
    Array.from({ length: 60 }, (_, index) => (index % 2 === 0 ? one : two).post()),
  );
  expect(statuses).toEqual(Array(60).fill(200));
  await Promise.all([one.meter.flush(), two.meter.flush()]);
  expect(one.ledger.countBurns()).toBe(60);
  expect(new Set(one.ledger.burns().map(({ idempotencyKey }) => idempotencyKey)).size).toBe(60);
  const { redemptions } = await two.meter.redemptions.list({ limit: 100 });
  expect(redemptions.filter(({ status }) => status === "completed")).toHaveLength(60);
  const told = one.lines.find(({ message }) => message.includes("remembered"));
  expect(told?.fields).toEqual({ journal: "postgres", schema: journal.schema });
});

test("a proof that pays once pays once in all of the fleet", async () => {
  const guard = { proofs: "single-use" } as const;
  const journal = place();
  const [one, two] = [await api({ journal, guard }), await api({ journal, guard })];
  const statuses = await Promise.all([one.post(), two.post(), one.post(), two.post()]);
  expect(statuses.sort()).toEqual([200, 409, 409, 409]);
});

test.each([
  { where: "in PostgreSQL", journalOf: async () => place() },
  { where: "in a file", journalOf: async () => path.join(await folder(), "journal.db") },
])(
  "a hundred requests at once, over four processes on a journal $where, get what a balance of five pays for",
  async ({ journalOf }) => {
    const journal = await journalOf();
    const guard = { scope: "fleet" } as const;
    const first = await api({ journal, guard }, 5);
    const environment = { name: "embedded", baseUrl: first.ledger.baseUrl };
    const others = [];
    for (let count = 0; count < 3; count += 1) {
      others.push(await api({ journal, guard, environment }));
    }
    const fleet = [first, ...others];
    const statuses = await Promise.all(
      Array.from({ length: 100 }, (_, index) => fleet[index % 4]?.post()),
    );
    const of = (status: number) => statuses.filter((one) => one === status).length;
    expect([of(200), of(402)]).toEqual([5, 95]);
    await Promise.all(fleet.map(({ meter }) => meter.flush()));
    expect(first.ledger.countBurns()).toBe(5);
    const { redemptions } = await first.meter.redemptions.list({ limit: 200 });
    // Who was turned away left no record.
    expect(redemptions.map(({ status }) => status)).toEqual(Array(5).fill("completed"));
  },
);

test('a request waits for the database with scope "fleet", and for nothing with "process"', async () => {
  const journal = place();
  const one = await api({ journal, guard: { scope: "process" } });
  const environment = { name: "embedded", baseUrl: one.ledger.baseUrl };
  const two = await api({ journal, environment });
  expect([await one.post(), await two.post()]).toEqual([200, 200]);
  await Promise.all([one.meter.flush(), two.meter.flush()]);
  const client = new pg.Client({ connectionString: postgres.url });
  await client.connect();
  await client.query("begin");
  await client.query(`lock table ${journal.schema}.holds in access exclusive mode`);
  expect([await one.post(), await two.post()]).toEqual([200, 503]);
  await client.query("commit");
  await client.end();
  await Promise.all([one.meter.flush(), two.meter.flush()]);
  expect(one.ledger.countBurns()).toBe(3);
  expect(await two.post()).toBe(200);
});

test("what one leaves behind is sent by the next", async () => {
  const journal = place();
  const one = await api({ journal });
  await one.ledger.goAway();
  expect(await one.post()).toBe(200);
  const { left } = await one.meter.close({ deadlineMs: 20 });
  expect(left).toHaveLength(1);
  await one.ledger.comeBack();
  const ledger = { name: "embedded", baseUrl: one.ledger.baseUrl };
  await api({ journal, environment: ledger });
  await expect.poll(() => one.ledger.countBurns(), { timeout: 10_000 }).toBe(1);
});

test("a PostgreSQL that goes away and comes back loses nothing", async ({ skip }) => {
  const { restart } = postgres;
  if (!restart) return skip("the server is not ours to stop");
  const { post, meter, ledger, settled } = await api({ journal: place() });
  expect(await post()).toBe(200);
  const restarting = restart();
  // Some of them find the journal away.
  const statuses = await Promise.all(Array.from({ length: 20 }, () => post()));
  await restarting;
  const answered = statuses.filter((status) => status === 200).length;
  expect(statuses.every((status) => status === 200 || status === 503)).toBe(true);
  await expect.poll(() => post(), { timeout: 20_000 }).toBe(200);
  await meter.flush();
  // A charge that was on the wire when its answer could not be written is settled all the same; who was
  // turned away is charged nothing.
  const charged = settled.filter(({ status }) => status !== "skipped");
  expect(charged.map(({ status }) => status)).toEqual(Array(answered + 2).fill("completed"));
  expect(ledger.countBurns()).toBe(answered + 2);
});

test("the URL alone is enough", async () => {
  const one = await api({ journal: postgres.url });
  expect(await one.post()).toBe(200);
  await one.meter.flush();
  expect(one.ledger.countBurns()).toBe(1);
  await one.meter.close();
  const client = new pg.Client({ connectionString: postgres.url });
  await client.connect();
  await client.query("drop schema credit_meter cascade");
  await client.end();
});
