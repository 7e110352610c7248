/**
 * What the journal costs: durable appends a second and what they do to the event loop that serves
 * requests, commit latency alone and with three other processes on the file, and recovery of a large
 * backlog. `npm run bench:journal`, with `--json` for machines and `--records N` for the backlog.
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { temporaryFolder } from "../../test/support/folder.ts";
import { readCommand } from "../command.ts";

const values = readCommand(
  `Usage: npm run bench:journal -- [options]

What the journal in a file costs: about a minute.

  --records N         of the largest backlog that is recovered (1000000)
  --appends N         durable appends that are timed (200000)
  --json              the result as JSON
`,
  {
    json: { type: "boolean", default: false },
    records: { type: "string", default: "1000000" },
    appends: { type: "string", default: "200000" },
  },
);

const folder = temporaryFolder("bench-journal-");
const part = path.join(import.meta.dirname, "part.ts");

/** Each part runs in a process of its own, so that none warms up or fills the memory of another. */
async function run(name: string, ...args: string[]): Promise<Record<string, number>> {
  process.stderr.write(`${name} ${args.slice(1).join(" ")} …\n`);
  const child = spawn(process.execPath, ["--expose-gc", "--import", "tsx", part, name, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, TSX_TSCONFIG_PATH: path.resolve("tsconfig.build.json") },
  });
  process.once("exit", () => child.kill("SIGKILL"));
  let text = "";
  child.stdout.on("data", (chunk) => {
    text += chunk;
  });
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(`${name} ended with ${code}`);
  return JSON.parse(text);
}

try {
  const file = (name: string) => path.join(folder.path, name);
  const append = await run("append", file("append.db"), values.appends);
  const alone = await run("latency", file("alone.db"), "3000");
  const shared = file("shared.db");
  const four = await Promise.all(Array.from({ length: 4 }, () => run("latency", shared, "3000")));
  const recovery: Record<string, number>[] = [];
  for (const records of [0, Math.floor(Number(values.records) / 10), Number(values.records)]) {
    const backlog = file(`backlog-${records}.db`);
    if (records > 0) await run("fill", backlog, String(records));
    recovery.push({ records, ...(await run("recover", backlog)) });
  }
  const most = (key: string) => Math.max(...four.map((one) => one[key] ?? 0));
  const result = {
    appendsPerSecond: append.perSecond,
    eventLoopDelayP99Ms: append.delayP99Ms,
    eventLoopDelayIdleP99Ms: append.idleP99Ms,
    commitAloneMs: { p50: alone.p50, p99: alone.p99 },
    commitFourProcessesMs: { p50: most("p50"), p99: most("p99") },
    commitsOfEachOfFour: four.map((one) => one.commits),
    recovery,
  };
  if (values.json) console.log(JSON.stringify(result));
  else {
    const base = recovery[0]?.megabytes ?? 0;
    console.log(`
durable appends                      ${append.perSecond} a second
event-loop delay p99 meanwhile       ${append.delayP99Ms} ms (idle: ${append.idleP99Ms} ms)
commit of one record, alone          p50 ${alone.p50} ms, p99 ${alone.p99} ms
the same, four processes on a file   p50 ${most("p50")} ms, p99 ${most("p99")} ms (the slowest of four)
commits of each of the four          ${four.map((one) => one.commits).join(", ")}
${recovery
  .slice(1)
  .map(
    ({ records, firstSentMs, megabytes }) =>
      `${records} waiting charges`.padEnd(37) +
      `first one sent after ${firstSentMs} ms, ${((megabytes ?? 0) - base).toFixed(1)} MB more than with none`,
  )
  .join("\n")}`);
  }
} finally {
  folder.remove();
}
