import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { afterEach, expect, onTestFinished, test } from "vitest";
import { aCharge, aClient, closeClients } from "./support.ts";

afterEach(closeClients);

/** A ledger in another thread: it answers while this one stands still, and wakes it afterwards. */
const ledger = `
const { parentPort, workerData } = require("node:worker_threads");
const { flags, pauseMs } = workerData;
const server = require("node:http").createServer((req, res) => {
  req.resume();
  req.on("end", () => {
    parentPort.postMessage("arrived");
    Atomics.wait(flags, 0, 0);
    res.end('{"success":true,"creditsRedeemed":10,"balance":10}', () => {
      setTimeout(() => {
        Atomics.store(flags, 1, 1);
        Atomics.notify(flags, 1);
      }, pauseMs);
    });
  });
});
server.listen(0, "127.0.0.1", () => parentPort.postMessage(server.address().port));
`;

/** Asks, and stands still until long after the answer has come and the time for it is over. */
async function pausedWhile<Answer>(
  ask: (client: ReturnType<typeof aClient>) => Promise<Answer>,
): Promise<Answer> {
  const timeoutMs = 1_500;
  const flags = new Int32Array(new SharedArrayBuffer(8));
  const worker = new Worker(ledger, {
    eval: true,
    workerData: { flags, pauseMs: 2 * timeoutMs },
  });
  onTestFinished(() => void worker.terminate());
  const [port] = await once(worker, "message");
  const answer = ask(aClient({ baseUrl: `http://127.0.0.1:${port}`, timeoutMs }));
  await once(worker, "message");
  Atomics.store(flags, 0, 1);
  Atomics.notify(flags, 0);
  Atomics.wait(flags, 1, 0);
  return answer;
}

test("a pause longer than the timeout loses no answer that has come (F3)", async () => {
  const answer = await pausedWhile((client) => client.redeem(aCharge()));
  expect(answer).toMatchObject({ status: "completed", redeemedAmount: 10 });
});

test("nor that to a question (F3)", async () => {
  const reading = await pausedWhile((client) => client.balance("1", `0x${"ab".repeat(20)}`));
  expect(reading).toEqual({ told: true, amount: 10 });
});
