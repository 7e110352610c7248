/**
 * What it costs to read usage out of streams: many streams of small server-sent events through one
 * server, priced by `tokens`, against the same streams without a meter in the same run. First at a pace
 * of about 1 MB/s, then as fast as they go. `npm run bench:stream`, with `--json` for machines.
 */

import path from "node:path";
import { temporaryFolder } from "../../test/support/folder.ts";
import { readCommand } from "../command.ts";
import { startChild } from "../torture/child.ts";
import { type Read, run } from "./load.ts";
import type {
  FromLedger,
  FromServer,
  LedgerSettings,
  ServerSettings,
  ToLedger,
  ToServer,
} from "./messages.ts";

const values = readCommand(
  `Usage: npm run bench:stream -- [options]

What it costs to read usage out of streams, beside the same streams without a meter: about a
minute.

  --rounds N          of each measurement (3)
  --connections N     streams at once (100)
  --eventBytes N      of each server-sent event (100)
  --json              the result as JSON
`,
  {
    json: { type: "boolean", default: false },
    rounds: { type: "string", default: "3" },
    connections: { type: "string", default: "100" },
    eventBytes: { type: "string", default: "100" },
  },
);
const rounds = Number(values.rounds);
const connections = Number(values.connections);
const eventBytes = Number(values.eventBytes);

const plan = "105906633592154016712415751065229";
const holders = Array.from({ length: connections }, (_, index) => {
  return `0x${index.toString(16).padStart(40, "0")}`;
});
const headers = holders.map((holder) => ({
  "Nevermined-Plan-Id": plan,
  "Nevermined-Holder-Address": holder,
  "Nevermined-Proof": "0xproof",
}));

const variants = ["bare", "metered"] as const;
/** A hundred streams of an event each 10 ms are 10,000 events a second. */
const paced = { events: 400, everyMs: 10, streams: 1, spreadMs: 1_000 };
const unpaced = { events: 1_000, everyMs: 0, streams: 1, spreadMs: 0 };

interface Measured extends Read {
  /** Microseconds of the server, with the charges of what was read. */
  readonly cpu: number;
}

type Server = ReturnType<typeof startServer>;

const folder = temporaryFolder("bench-stream-");
const options = {
  preload: import.meta.resolve("tsx"),
  env: { TSX_TSCONFIG_PATH: path.resolve(import.meta.dirname, "../../tsconfig.build.json") },
  onLine: (line: string) => void process.stderr.write(`${line}\n`),
};
const file = (name: string) => path.join(import.meta.dirname, name);

function startServer(settings: ServerSettings) {
  return startChild<ToServer, FromServer>(file("server.ts"), settings, options);
}

async function measure(server: Server) {
  server.send({ kind: "measure" });
  return server.next("measured");
}

async function measureOne(
  server: Server,
  port: number,
  variant: (typeof variants)[number],
  { events, everyMs, streams, spreadMs }: typeof paced,
): Promise<Measured> {
  const before = await measure(server);
  const query = `events=${events}&everyMs=${everyMs}`;
  const read = await run({ port, path: `/${variant}?${query}`, headers, streams, spreadMs });
  const after = await measure(server);
  const expected = variant === "metered" ? connections * streams : 0;
  if (after.charged - before.charged !== expected) {
    throw new Error(`${after.charged - before.charged} of ${expected} answers were charged.`);
  }
  return { ...read, cpu: after.cpu - before.cpu };
}

async function compare(server: Server, port: number, name: string, load: typeof paced) {
  const measured = { bare: [] as Measured[], metered: [] as Measured[] };
  for (let turn = 0; turn < rounds; turn += 1) {
    // Who begins takes turns.
    for (const variant of turn % 2 === 0 ? variants : [...variants].reverse()) {
      process.stderr.write(`${name}, round ${turn + 1} of ${rounds}, ${variant} …\n`);
      measured[variant].push(await measureOne(server, port, variant, load));
    }
  }
  const [bare, metered] = variants.map((variant) => summary(measured[variant]));
  return { bare, metered, throughputRatio: round(ratioOf(measured), 3) };
}

/** Of neighbours, so that what else goes on in the machine meets both. */
function ratioOf({ bare, metered }: Record<(typeof variants)[number], Measured[]>): number {
  return median(metered.map((one, turn) => speed(one) / speed(bare[turn] as Measured)));
}

function summary(measured: Measured[]) {
  return {
    megabytesPerSecond: round(median(measured.map(speed)), 3),
    firstByteMs: round(median(measured.flatMap(({ firstByteMs }) => firstByteMs)), 2),
    cpuMsPerMegabyte: round(median(measured.map(({ cpu, bytes }) => (cpu / bytes) * 1_000)), 1),
    cpuPercent: round(median(measured.map(({ cpu, seconds }) => cpu / seconds / 10_000)), 1),
  };
}

const speed = ({ bytesPerSecond }: Read) => bytesPerSecond / 1e6;
const round = (value: number, places: number) => Number(value.toFixed(places));
const median = (numbers: number[]) => [...numbers].sort((a, b) => a - b)[numbers.length >> 1] ?? 0;

const ledgerSettings: LedgerSettings = { plan, holders };
const ledger = startChild<ToLedger, FromLedger>(file("ledger.ts"), ledgerSettings, options);
let server: Server | undefined;
const giveUp = () => {
  console.error("It takes too long; the machine is too busy for figures.");
  // The processes go with this one.
  folder.remove();
  process.exit(1);
};
const limit = setTimeout(giveUp, rounds * 20_000);
try {
  const { baseUrl, apiKey } = await ledger.next("open");
  const journal = path.join(folder.path, "journal.db");
  server = startServer({ baseUrl, apiKey, plan, journal, eventBytes });
  const { port } = await server.next("listening");
  // Every holder is known after this, and the code is compiled.
  process.stderr.write("warming up …\n");
  const warmUp = { ...unpaced, events: 200 };
  for (const variant of [...variants, ...variants]) await measureOne(server, port, variant, warmUp);
  const result = {
    paced: await compare(server, port, "at a pace", paced),
    unpaced: await compare(server, port, "at the limit", unpaced),
  };
  if (values.json) console.log(JSON.stringify(result));
  else console.log(tableOf(result));
  server.send({ kind: "stop" });
  ledger.send({ kind: "stop" });
  await Promise.all([server.ended, ledger.ended]);
} finally {
  clearTimeout(limit);
  server?.kill();
  ledger.kill();
  folder.remove();
}

function tableOf(result: Record<"paced" | "unpaced", Awaited<ReturnType<typeof compare>>>) {
  return Object.entries(result)
    .map(([name, { bare, metered, throughputRatio }]) => {
      const row = (label: string, key: keyof ReturnType<typeof summary>) =>
        `${label.padEnd(34)}${String(bare?.[key]).padStart(9)}${String(metered?.[key]).padStart(9)}`;
      return [
        `\n${(name === "paced" ? "at a pace" : "at the limit").padEnd(34)}     bare  metered`,
        `${row("MB/s", "megabytesPerSecond")}   ${throughputRatio} of bare`,
        row("ms to the first byte, median", "firstByteMs"),
        row("CPU ms of the server for 1 MB", "cpuMsPerMegabyte"),
        row("CPU of the server, % of a core", "cpuPercent"),
      ].join("\n");
    })
    .join("\n");
}
