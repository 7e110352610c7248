/** The clients: one process that sends requests at a rate and writes down what became of each. */

import { createWriteStream } from "node:fs";
import { Pool } from "undici";
import { monotonicMs } from "./clock.ts";
import type { FromLoad, LoadSettings, RequestSeen, ToLoad } from "./messages.ts";
import { createRandom } from "./random.ts";

const settings = JSON.parse(process.argv[2] ?? "") as LoadSettings;
const random = createRandom(settings.seed);
const out = createWriteStream(settings.file);

const tickMs = 5;
/** Requests under way at one server, at the most. */
const most = 64;
/** One request in so many asks for the route that fails, which must cost nothing. */
const brokenOneIn = 50;

interface Target {
  readonly pool: Pool;
  underWay: number;
  /** Nobody listens there: one request at a time tries again. */
  away: boolean;
}

const targets: Target[] = settings.ports.map((port) => ({
  pool: new Pool(`http://127.0.0.1:${port}`, {
    connections: most,
    pipelining: 1,
    keepAliveTimeout: 4_000,
    headersTimeout: 20_000,
    bodyTimeout: 20_000,
  }),
  underWay: 0,
  away: false,
}));

let number = 0;
let whole = 0;
let owed = 0;
let paused = false;
let stopping = false;
let last = monotonicMs();

const timer = setInterval(() => {
  const now = monotonicMs();
  // What a pause of this process or of the servers has held up is not sent all at once.
  owed = Math.min(owed + ((now - last) * settings.rate) / 1_000, most);
  last = now;
  if (paused || stopping) owed = 0;
  for (; owed >= 1; owed -= 1) {
    const target = targets[number % targets.length];
    if (target && target.underWay < (target.away ? 1 : most)) send(target);
    else if (targets.length > 1) number += 1;
  }
}, tickMs);

const progress = setInterval(() => tell({ kind: "progress", whole }), 20);

function send(target: Target) {
  number += 1;
  const mine = number;
  const amount = random() * brokenOneIn < 1 ? 0 : 1 + Math.floor(random() * 5);
  const index = Math.floor(random() * settings.holders.length);
  const seen = {
    number: mine,
    came: "sent" as RequestSeen["came"],
    status: 0,
    redemptionId: null as string | null,
    amount,
    at: 0,
    answeredAt: 0,
    life: 0,
  };
  let written = false;
  let body = "";
  target.underWay += 1;
  const over = () => {
    target.underWay -= 1;
    target.away = !written;
    if (!written) return;
    seen.at = monotonicMs();
    out.write(`${JSON.stringify(seen)}\n`);
  };
  target.pool.dispatch(
    {
      method: "POST",
      path: amount === 0 ? "/broken" : `/credits/${amount}/${mine}`,
      headers: paymentOf(index, mine),
    },
    {
      onRequestStart() {
        written = true;
      },
      onResponseStart(_controller, status, headers) {
        seen.came = "begun";
        seen.status = status;
        seen.redemptionId = String(headers["redemption-id"] ?? "") || null;
      },
      onResponseData(_controller, chunk) {
        body += chunk;
      },
      onResponseEnd() {
        seen.came = "whole";
        whole += 1;
        const said = JSON.parse(body || "{}") as Partial<RequestSeen>;
        seen.answeredAt = said.answeredAt ?? 0;
        seen.life = said.life ?? 0;
        over();
      },
      onResponseError: over,
    },
  );
}

function paymentOf(index: number, request: number): Record<string, string> {
  const { plan, holders, tokens } = settings;
  if (tokens) return { "payment-signature": tokens[index] ?? "" };
  return {
    "nevermined-plan-id": plan,
    "nevermined-holder-address": holders[index] ?? "",
    "nevermined-proof": `request-${request}`,
  };
}

function tell(message: FromLoad) {
  process.send?.(message);
}

process.on("message", (message: ToLoad) => {
  if (message.kind === "pause") paused = message.on;
  else stopping = true;
});
process.on("disconnect", () => process.exit(0));

const ending = setInterval(() => {
  if (!stopping || targets.some(({ underWay }) => underWay > 0)) return;
  clearInterval(ending);
  clearInterval(timer);
  clearInterval(progress);
  out.end(() => {
    tell({ kind: "done", whole });
    process.disconnect();
    for (const { pool } of targets) void pool.destroy();
  });
}, 10);
