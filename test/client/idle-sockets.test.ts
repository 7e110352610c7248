import { execFileSync } from "node:child_process";
import { once } from "node:events";
import net, { type AddressInfo } from "node:net";
import tls from "node:tls";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest";
import type { NeverminedClientOptions } from "../../src/client/nevermined.ts";
import { fundedLedger, holder, plan, secretKey } from "../support/api.ts";
import { aCharge, aClient, closeClients } from "./support.ts";

afterEach(async () => {
  vi.unstubAllEnvs();
  await closeClients();
});

type End = "FIN" | "RST";

/**
 * A proxy that has given up a socket which stood idle for 50 ms, and says so when bytes come on it: they never
 * reach the ledger. Time is what the test says it is.
 */
async function proxyTo(port: number, end: End, clock: { now: number }) {
  const seen = { connections: 0, refused: 0, pipelined: 0 };
  const server = net.createServer((socket) => {
    seen.connections += 1;
    let idleSince: number | undefined;
    let isAsking = false;
    const upstream = net.connect(port, "127.0.0.1");
    for (const one of [socket, upstream]) one.on("error", () => {});
    socket.on("close", () => upstream.destroy());
    upstream.on("close", () => socket.destroy());
    upstream.on("data", (chunk) => {
      idleSince = clock.now;
      isAsking = false;
      socket.write(chunk);
    });
    socket.on("data", (chunk) => {
      if (idleSince !== undefined && clock.now - idleSince >= 50) {
        seen.refused += 1;
        if (end === "RST") socket.resetAndDestroy();
        else socket.end();
        return;
      }
      if (isAsking && chunk.toString("latin1").startsWith("POST ")) seen.pipelined += 1;
      isAsking = true;
      upstream.write(chunk);
    });
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  onTestFinished(() => void server.close());
  return { seen, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/api/v1` };
}

async function world(end: End, options: Partial<NeverminedClientOptions> = {}) {
  const clock = { now: 0 };
  const ledger = await fundedLedger(10_000);
  const { seen, url } = await proxyTo(ledger.port, end, clock);
  const client = aClient({
    ...{ baseUrl: url, apiKey: secretKey, connections: 4 },
    ...{ elapsed: () => clock.now, ...options },
  });
  const charge = () => client.redeem(aCharge({ planId: plan, holderAddress: holder, amount: 1 }));
  return { clock, ledger, seen, client, charge };
}

const ends: End[] = ["FIN", "RST"];

describe.each(ends)("a proxy that closes idle sockets by %s (F4)", (end) => {
  test("costs no charge where a lost answer costs a person's work", async () => {
    const { clock, ledger, seen, charge } = await world(end);
    const statuses = new Set<string>();
    for (let round = 0; round < 50; round += 1) {
      clock.now += [0, 3, 60, 1_000][round % 4] ?? 0;
      const answers = await Promise.all([charge(), charge(), charge(), charge()]);
      for (const { status } of answers) statuses.add(status);
    }
    expect([...statuses]).toEqual(["completed"]);
    expect(ledger.countBurns()).toBe(200);
    expect(seen).toMatchObject({ refused: 0, pipelined: 0 });
  });

  test("makes no question fail", async () => {
    const { clock, seen, client } = await world(end);
    for (let round = 0; round < 20; round += 1) {
      clock.now += 60;
      expect(await client.balance(plan, holder)).toEqual({ told: true, amount: 10_000 });
    }
    expect(seen.refused).toBeGreaterThan(0);
  });
});

test("a socket that was in use just now is used again (F4)", async () => {
  const { clock, seen, charge } = await world("RST");
  for (let round = 0; round < 20; round += 1) {
    clock.now += 3;
    expect(await charge()).toMatchObject({ status: "completed" });
  }
  expect(seen.connections).toBe(1);
});

test("a charge whose id the ledger honours goes on an idle socket, too (F4)", async () => {
  const { clock, seen, charge } = await world("RST", { honoursIds: true });
  for (let round = 0; round < 4; round += 1) {
    clock.now += 40;
    expect(await charge()).toMatchObject({ status: "completed" });
  }
  expect(seen.connections).toBe(1);
});

test("idle sockets leave their places to new ones (F4)", async () => {
  const { clock, charge, seen } = await world("RST", { connections: 2 });
  for (let round = 0; round < 4; round += 1) {
    const answers = await Promise.all([charge(), charge()]);
    expect(answers.map(({ status }) => status)).toEqual(["completed", "completed"]);
    clock.now += 40;
  }
  expect(seen.connections).toBe(8);
});

/** A key and a certificate for it, in one text; undefined without OpenSSL's command. */
function selfSigned(): string | undefined {
  const made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout - -subj /CN=l";
  try {
    return execFileSync("openssl", made.split(" "), { stdio: "pipe" }).toString();
  } catch {
    return undefined;
  }
}

const pem = selfSigned();

test.skipIf(!pem)("a new connection resumes the TLS session of the one before (F4)", async () => {
  vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", "0");
  setFlagsFromString("--expose-gc");
  const collectGarbage: () => void = runInNewContext("gc");
  const resumed: boolean[] = [];
  const server = tls.createServer({ key: pem, cert: pem }, (socket) => {
    resumed.push(socket.isSessionReused());
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      if (chunk.toString("latin1").endsWith("}"))
        socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}`);
    });
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  onTestFinished(() => void server.close());
  const clock = { now: 0 };
  const baseUrl = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const client = aClient({ baseUrl, elapsed: () => clock.now });
  for (let round = 0; round < 4; round += 1) {
    expect(await client.redeem(aCharge())).toMatchObject({ status: "completed" });
    clock.now += 1_000;
    collectGarbage();
  }
  expect(resumed).toEqual([false, true, true, true]);
});
