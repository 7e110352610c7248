/** The guard in front of handlers, over real sockets and with a real ledger. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Request, Response } from "express";
import request from "supertest";
import { describe, expect, onTestFinished, test } from "vitest";
import type { CreditMeterOptions } from "../../src/index.ts";
import type { LedgerOptions } from "../../src/ledger/index.ts";
import { holder, meteredApi, payment, plan, secretProof } from "../support/api.ts";
import { connect, deferred, listen } from "../support/server.ts";

const other = `0x${"cd".repeat(20)}`;

/** An API with a route for a credit, one for five, and one whose handler the test lets go on. */
async function api(
  options: Partial<CreditMeterOptions> = {},
  given: { credits?: number; ledger?: LedgerOptions } = {},
) {
  const gate = deferred();
  const ran = { count: 0 };
  const left = deferred();
  const routes = {
    "POST /": 1,
    "POST /five": 5,
    "POST /slow": 1,
    "POST /tokens": { hold: 4, price: (_req: Request, res: Response) => res.locals.used },
    "POST /throws": 5,
    "POST /free": 0,
    "POST /dear": 1,
  };
  const built = await meteredApi(
    { routes, ...options },
    (app, meter) => {
      app.use((req, _res, next) => {
        req.socket.once("close", left.resolve);
        next();
      });
      app.use(meter);
      app.use((_req, _res, next) => {
        ran.count += 1;
        next();
      });
      const ok = (_req: Request, res: Response) => void res.json({});
      app.post(["/", "/five", "/free"], ok);
      app.post("/slow", async (_req, res) => {
        await gate.promise;
        res.json({});
      });
      app.post("/tokens", (req, res) => {
        res.locals.used = Number(req.headers["x-used"]);
        res.json({});
      });
      app.post("/throws", () => {
        throw new Error("as was asked for");
      });
      app.post("/dear", meter.charge(8), ok);
    },
    given,
  );
  const post = (where = "/", headers: Record<string, string> = {}) =>
    request(built.url)
      .post(where)
      .set({ ...payment, ...headers })
      .then(({ status, body, headers }) => ({ status, body, headers }));
  return { ...built, gate, left, ran, post };
}

const statusesOf = (answers: { status: number }[]) => answers.map(({ status }) => status).sort();

describe("too few credits", () => {
  test("100 requests at once on a balance of 5 get 5 answers", async () => {
    const { post, meter, ledger, ran } = await api({}, { credits: 5 });
    const answers = await Promise.all(Array.from({ length: 100 }, () => post()));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(5);
    expect(ran.count).toBe(5);
    await meter.flush();
    expect(ledger.countBurns()).toBe(5);
    const refused = answers.find(({ status }) => status === 402);
    expect(refused?.body).toMatchObject({
      code: "insufficient-credits",
      price: 1,
      plans: [plan],
      detail: expect.stringContaining("Buy more"),
    });
    // Whoever knows an address must not learn what its holder has.
    expect(refused?.body).not.toHaveProperty("balance");
  });

  test("a holder that the ledger does not know gets no answer", async () => {
    const { post, ran } = await api();
    const answer = await post("/", { "Nevermined-Holder-Address": other });
    expect(answer).toMatchObject({ status: 402, body: { code: "insufficient-credits" } });
    expect(ran.count).toBe(0);
  });

  test("what a request does not cost in the end is free for the next", async () => {
    const { post, meter } = await api({}, { credits: 5 });
    expect((await post("/throws")).status).toBe(500);
    expect((await post("/tokens", { "x-used": "1" })).status).toBe(200);
    await meter.flush();
    expect((await post("/tokens", { "x-used": "4" })).status).toBe(200);
    await meter.flush();
    expect((await post()).status).toBe(402);
  });

  test("the route's own price replaces the table's, and must fit too", async () => {
    const { post, meter, ledger } = await api({}, { credits: 10 });
    expect((await post("/dear")).status).toBe(200);
    await meter.flush();
    const { status, body } = await post("/dear");
    expect(status).toBe(402);
    expect(body).toMatchObject({ code: "insufficient-credits", price: 8 });
    await meter.flush();
    expect(ledger.burns()).toMatchObject([{ amount: 8 }]);
    expect((await post()).status).toBe(200);
  });

  test("what is free passes whoever pays", async () => {
    const { post } = await api({}, { credits: 0 });
    expect((await post("/free")).status).toBe(200);
  });
});

describe("a hold ends, whatever becomes of the response", () => {
  test("a client that hangs up before anything was sent", async () => {
    const { post, port, gate, ran, settled, meter } = await api({}, { credits: 1 });
    const client = await connect(port, payment);
    client.send("POST /slow");
    await expect.poll(() => ran.count).toBe(1);
    expect((await post()).status).toBe(402);
    client.socket.destroy();
    await expect.poll(() => settled.length).toBe(1);
    expect((await post()).status).toBe(200);
    gate.resolve();
    await meter.flush();
  });

  test("pipelined requests on a socket that is destroyed", async () => {
    const { post, port, gate, ran, settled, meter } = await api({}, { credits: 3 });
    const client = await connect(port, payment);
    client.send("POST /slow", "POST /slow", "POST /slow");
    await expect.poll(() => ran.count).toBe(3);
    expect((await post()).status).toBe(402);
    client.socket.destroy();
    await expect.poll(() => settled.length).toBe(3);
    expect(statusesOf(await Promise.all([post(), post(), post()]))).toEqual([200, 200, 200]);
    gate.resolve();
    await meter.flush();
  });

  test("a client that is gone before the balance is known", async () => {
    const { post, port, ledger, left, ran, meter } = await api({}, { credits: 1 });
    ledger.failNext("hang-before-applying", { on: "balance" });
    const client = await connect(port, payment);
    client.send("POST /");
    await ledger.hanging();
    client.socket.destroy();
    await left.promise;
    await ledger.release();
    await expect.poll(() => post().then(({ status }) => status)).toBe(200);
    expect(ran.count).toBe(1);
    await meter.flush();
  });
});

describe("a ledger that is away", () => {
  const guard = { creditLine: 3, maxExposure: 5 };

  test("everyone has a line of credit, and all together a limit", async () => {
    const { post, meter, ledger, ran, lines } = await api({ guard }, { credits: 100 });
    await ledger.goAway();
    const ours = await Promise.all(Array.from({ length: 10 }, () => post()));
    expect(ours.filter(({ status }) => status === 200)).toHaveLength(3);
    expect(ours.find(({ status }) => status === 402)?.body.code).toBe("exposure-reached");
    const theirs = await Promise.all(
      Array.from({ length: 10 }, () => post("/", { "Nevermined-Holder-Address": other })),
    );
    expect(theirs.filter(({ status }) => status === 200)).toHaveLength(2);
    expect(meter.health().exposure).toBe(5);
    expect(ran.count).toBe(5);
    const told = lines.filter(({ message }) => message.includes("owe guard.maxExposure"));
    expect(told).toHaveLength(1);
    await ledger.comeBack();
    await meter.flush();
    expect(ledger.balance(plan, holder)).toBe(97);
  });

  test("who is known passes on the balance that was told last, and strangers alone are bounded", async () => {
    const { post, meter, ledger } = await api(
      { guard: { ...guard, balanceTtlMs: 0 } },
      { credits: 30 },
    );
    expect((await post()).status).toBe(200);
    await meter.flush();
    await ledger.goAway();
    // Past the line and past the exposure, up to the 29 credits that are left.
    for (let calls = 0; calls < 5; calls += 1) expect((await post("/five")).status).toBe(200);
    expect((await post("/five")).body.code).toBe("insufficient-credits");
    expect(meter.health().exposure).toBe(0);
    const stranger = { "Nevermined-Holder-Address": other };
    const theirs = await Promise.all(Array.from({ length: 5 }, () => post("/", stranger)));
    expect(theirs.filter(({ status }) => status === 200)).toHaveLength(3);
    expect(meter.health().exposure).toBe(3);
    await ledger.comeBack();
    await meter.flush();
    expect(ledger.balance(plan, holder)).toBe(4);
  });

  test("one warning says that balances are not told, and why", async () => {
    const ledger = await listen((_req, res) => {
      res.writeHead(404, { "content-type": "application/json" }).end('{"error":"no route"}');
    });
    const { post, lines } = await api({ environment: { name: "gateway", baseUrl: ledger.url } });
    for (const from of [holder, other]) {
      expect((await post("/", { "Nevermined-Holder-Address": from })).status).toBe(200);
    }
    const told = lines.filter(({ message }) => message.includes("does not tell balances"));
    expect(told).toMatchObject([{ level: "warn", fields: { why: expect.stringMatching("404") } }]);
  });

  test("or whoever must be asked for gets 503", async () => {
    const { post, ledger, ran } = await api({ guard: { onLedgerDown: "refuse" } });
    await ledger.goAway();
    const { status, body, headers } = await post();
    expect(status).toBe(503);
    expect(body.code).toBe("ledger-away");
    expect(headers["retry-after"]).toBe("1");
    expect(ran.count).toBe(0);
  });

  test("a balance that need not be asked for is not", async () => {
    const { post, ledger, meter } = await api({ guard: { balance: "never" } });
    expect((await post()).status).toBe(200);
    await meter.flush();
    expect(ledger.requests().balance).toEqual({});
  });
});

describe("a charge that the ledger refuses", () => {
  const accepts = ({ proof }: { proof: string }) => proof === secretProof;
  const liar = { "Nevermined-Proof": "0xfalse" };

  test("a false proof blocks its like, and not the one that has paid", async () => {
    const { post, meter, ran } = await api({}, { ledger: { acceptProof: accepts } });
    expect((await post()).status).toBe(200);
    await meter.flush();
    expect((await post("/", liar)).status).toBe(200);
    await meter.flush();
    expect(await post("/", liar)).toMatchObject({ status: 402, body: { code: "holder-blocked" } });
    expect((await post()).status).toBe(200);
    expect(ran.count).toBe(3);
  });

  test("a restart forgives nobody", async () => {
    const folder = mkdtempSync(path.join(tmpdir(), "guard-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const journal = path.join(folder, "journal.db");
    const first = await api({ journal }, { ledger: { acceptProof: accepts } });
    expect((await first.post("/", liar)).status).toBe(200);
    await first.meter.flush();
    await first.meter.close();
    const second = await api({ journal }, { ledger: { acceptProof: accepts } });
    expect((await second.post("/", liar)).body.code).toBe("holder-blocked");
    expect(second.ran.count).toBe(0);
  });
});

describe("verifyProof", () => {
  test("judges before the handler, and lets the holder know the balance", async () => {
    const seen: unknown[] = [];
    const { post, ran } = await api(
      {
        guard: {
          verifyProof: async (paid, req) => {
            seen.push([paid.planId, paid.holderAddress, req.path]);
            return paid.proof === secretProof;
          },
        },
      },
      { credits: 3 },
    );
    const forged = await post("/", { "Nevermined-Proof": "0xf0" });
    expect(forged).toMatchObject({ status: 402, body: { code: "proof-invalid" } });
    expect(ran.count).toBe(0);
    expect(await post("/five")).toMatchObject({
      status: 402,
      body: { code: "insufficient-credits", balance: 3 },
    });
    expect((await post()).status).toBe(200);
    expect(seen[0]).toEqual([plan, holder, "/"]);
  });

  test.each([
    ["throws", () => Promise.reject(new Error("no key"))],
    [
      "throws at once",
      () => {
        throw new Error("no key");
      },
    ],
    ["returns nothing", () => undefined],
    ["returns an empty nonce", () => ({ nonce: "" })],
  ])("one that %s is the application's error, and nobody passes", async (_name, verifyProof) => {
    const { post, ran } = await api({ guard: { verifyProof: verifyProof as never } });
    const { status } = await post();
    expect(status).toBe(500);
    expect(ran.count).toBe(0);
  });
});

describe("proofs that pay once", () => {
  const guard = { proofs: "single-use" } as const;

  test("a second request with the same gets 409, at once and later", async () => {
    const { post, meter, ledger, ran } = await api({ guard });
    const answers = await Promise.all(Array.from({ length: 20 }, () => post()));
    expect(statusesOf(answers)).toEqual([200, ...Array(19).fill(409)]);
    expect(answers.find(({ status }) => status === 409)?.body).toMatchObject({
      code: "proof-spent",
      detail: expect.stringContaining("new one"),
    });
    await meter.flush();
    expect((await post()).status).toBe(409);
    expect((await post("/", { "Nevermined-Proof": "0xanother" })).status).toBe(200);
    expect(ran.count).toBe(2);
    await meter.flush();
    expect(ledger.countBurns()).toBe(2);
    // A request that was turned away leaves nothing behind.
    expect((await meter.redemptions.list()).redemptions).toHaveLength(2);
  });

  test.each([
    ["letter case", "0xAB", "0xab"],
    ["spaces", '{"a": 1}', ' {"a":1}'],
  ])("the same in another spelling is the same: %s", async (_name, first, second) => {
    const { post } = await api({ guard });
    expect((await post("/", { "Nevermined-Proof": first })).status).toBe(200);
    expect((await post("/", { "Nevermined-Proof": second })).status).toBe(409);
  });

  test("one whose request costs nothing can be used again", async () => {
    const { post, meter } = await api({ guard });
    expect((await post("/throws")).status).toBe(500);
    await meter.flush();
    expect((await post()).status).toBe(200);
    expect((await post()).status).toBe(409);
  });

  test("what verifyProof names is spent, whatever else the proof says", async () => {
    const verifyProof = ({ proof }: { proof: string }) => ({ nonce: proof.slice(0, 3) });
    const { post } = await api({ guard: { ...guard, verifyProof } });
    expect((await post("/", { "Nevermined-Proof": "one and" })).status).toBe(200);
    expect((await post("/", { "Nevermined-Proof": "one or" })).status).toBe(409);
    expect((await post("/", { "Nevermined-Proof": "two" })).status).toBe(200);
  });

  test("also after a restart, and in another process on the journal", async () => {
    const folder = mkdtempSync(path.join(tmpdir(), "guard-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const journal = path.join(folder, "journal.db");
    const first = await api({ guard, journal });
    expect((await first.post()).status).toBe(200);
    const beside = await api({ guard, journal });
    expect((await beside.post()).status).toBe(409);
    await first.meter.flush();
    await first.meter.close();
    const after = await api({ guard, journal });
    expect((await after.post()).status).toBe(409);
  });

  test("together with strict durability", async () => {
    const { post, meter, ledger } = await api({ guard, durability: "strict" });
    expect(statusesOf(await Promise.all([post(), post()]))).toEqual([200, 409]);
    await meter.flush();
    expect(ledger.countBurns()).toBe(1);
  });
});
