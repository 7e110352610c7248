import { createLedger, devKey, type Movement } from "../ledger/index.ts";
import { readArgs, UsageError } from "./usage.ts";

const help = `Usage: express-credit-meter ledger [options]

Runs an embedded, Nevermined-compatible ledger until it is interrupted.

Options:
  --port <number>             where to listen on 127.0.0.1; 0 is any free port (default 8402)
  --path <file>               keep accounts in a file (default: in memory, gone when it ends)
  --key <key>                 an API key to accept, instead of ${devKey}
  --fund <plan>:<holder>:<n>  mint n credits at each start; may be repeated
  --ignore-idempotency-keys   burn again when an Idempotency-Key is repeated
  --json                      say where it listens as one line of JSON
  --help                      say this
`;

const demo: Movement = {
  planId: "did:nv:demo",
  holderAddress: "0x1111111111111111111111111111111111111111",
  amount: 100,
};

/** Runs the embedded ledger until SIGINT or SIGTERM. */
export async function ledger(args: string[]): Promise<void> {
  const options = readArgs("ledger", args, {
    port: { type: "string", default: "8402" },
    path: { type: "string" },
    key: { type: "string" },
    fund: { type: "string", multiple: true, default: [] },
    "ignore-idempotency-keys": { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  });
  if (options.help) {
    process.stdout.write(help);
    return;
  }
  const port = readPort(options.port);
  const funds = options.fund.map(readFund);
  if (options.key === "" || options.path === "") {
    throw new UsageError("Give --key and --path a value, or leave them out.");
  }

  const running = await createLedger({
    port,
    ...(options.path === undefined ? {} : { path: options.path }),
    ...(options.key === undefined ? {} : { keys: [options.key] }),
    idempotency: options["ignore-idempotency-keys"] ? "ignore" : "honour",
  });
  const stop = () => void running.close();
  process.once("SIGINT", stop);
  process.once("SIGTERM", stop);
  try {
    for (const fund of funds) running.mint(fund);
  } catch (error) {
    await running.close();
    throw error;
  }

  const { baseUrl } = running;
  process.stdout.write(
    options.json
      ? `${JSON.stringify({ baseUrl, port: running.port })}\n`
      : greeting(baseUrl, funds[0] ?? demo, options.key !== undefined),
  );
}

function readPort(text: string): number {
  if (/^\d{1,5}$/.test(text) && Number(text) <= 65_535) return Number(text);
  throw new UsageError(`Give --port a number from 0 to 65535, not "${text}".`);
}

/** Read from the right: a plan's id may have colons of its own, as `did:nv:…` does. */
function readFund(text: string): Movement {
  const [, planId, holderAddress, amount] = /^(.+):([^:]+):(\d+)$/.exec(text) ?? [];
  if (planId && holderAddress && Number(amount) > 0 && Number.isSafeInteger(Number(amount))) {
    return { planId, holderAddress, amount: Number(amount) };
  }
  throw new UsageError(`Give --fund as <plan>:<holder>:<whole number of credits>, not "${text}".`);
}

/** Lines that can be pasted into a shell. A key that was given is not repeated. */
function greeting(baseUrl: string, { planId, holderAddress }: Movement, ownKey: boolean): string {
  const auth = ownKey
    ? '"Authorization: Bearer $NVM_API_KEY"'
    : `"Authorization: Bearer ${devKey}"`;
  const post = (path: string, body: object) =>
    `curl -sS -H ${auth} -H "Content-Type: application/json" -d ${quote(JSON.stringify(body))} ${baseUrl}/protocol/plans/${path}`;
  const place = `${encodeURIComponent(planId)}/balance/${encodeURIComponent(holderAddress)}`;
  return `The ledger listens at ${baseUrl} (end it with Ctrl+C).
${ownKey ? "Set NVM_API_KEY to the key that you gave, then try:" : "Try:"}

${post("mint", { planId, holderAddress, amount: 100 })}
curl -sS ${quote(`${baseUrl}/protocol/plans/${place}`)}
${post("redeem", { planId, holderAddress, amount: 5, proof: "0xproof" })}
`;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
