/** Stands in front of a ledger, and counts the questions for balances that are there at once. */

import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";

export interface Front {
  /** Leads to the ledger from now on; returns the address to ask instead. */
  to(baseUrl: string): string;
  questions(): number;
  mostAtOnce(): number;
}

/** Long enough for questions to meet. */
const slowedByMs = 5;

export async function inFrontOf<Value>(happen: (front: Front) => Promise<Value>): Promise<Value> {
  let ledger = new URL("http://127.0.0.1");
  let questions = 0;
  let now = 0;
  let mostAtOnce = 0;
  const agent = new http.Agent({ keepAlive: true });

  const server = http.createServer((req, res) => {
    const pass = () => {
      const { hostname, port } = ledger;
      const { method, headers, url: path } = req;
      const onward = http.request({ hostname, port, method, headers, path, agent }, (answer) => {
        res.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(res);
      });
      onward.on("error", () => res.destroy());
      req.pipe(onward);
    };
    if (!/\/balance\//.test(req.url ?? "")) return pass();
    questions += 1;
    now += 1;
    mostAtOnce = Math.max(mostAtOnce, now);
    res.once("close", () => {
      now -= 1;
    });
    setTimeout(pass, slowedByMs);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    return await happen({
      to(baseUrl) {
        ledger = new URL(baseUrl);
        return `http://127.0.0.1:${(server.address() as AddressInfo).port}${ledger.pathname}`;
      },
      questions: () => questions,
      mostAtOnce: () => mostAtOnce,
    });
  } finally {
    agent.destroy();
    server.close();
    server.closeAllConnections();
  }
}
