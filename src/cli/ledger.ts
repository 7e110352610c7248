import { buyerKey, createLedger, devKey, type Movement, type RequestIds } from "../ledger/index.ts";
import { readArgs, UsageError } from "./usage.ts";

const help = `Usage: express-credit-meter ledger [options]

Runs an embedded, Nevermined-compatible ledger until it is interrupted.

Options:
  --port <number>             where to listen on 127.0.0.1; 0 is any free port (default 8402)
  --path <file>               keep accounts in a file (default: in memory, gone when it ends)
  --key <key>                 an API key to accept, instead of ${devKey}
  --fund <plan>:<holder>:<n>  mint n credits at each start; may be repeated. The holder may ask
                              for x402 access tokens with the key nvm:buyer-<holder>, in
                              lower case
  --ignore-idempotency-keys   burn again when an Idempotency-Key is repeated
  --request-ids <mode>        what an agentRequestId is worth: honour (default), ignore, repeat
                              or none
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
    "request-ids": { type: "string", default: "honour" },
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
  const requestIds = readRequestIds(options["request-ids"]);
  const funded = funds[0] ?? demo;

  const running = await createLedger({
    port,
    ...(options.path === undefined ? {} : { path: options.path }),
    ...(options.key === undefined ? {} : { keys: [options.key] }),
    idempotency: options["ignore-idempotency-keys"] ? "ignore" : "honour",
    requestIds,
    buyers: [funded, ...funds].map(({ holderAddress }) => holderAddress),
    // So that a token can be had before the first credits have been minted.
    plans: { [funded.planId]: {} },
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
      : greeting(baseUrl, funded, options.key !== undefined),
  );
}

function readPort(text: string): number {
  if (/^\d{1,5}$/.test(text) && Number(text) <= 65_535) return Number(text);
  throw new UsageError(`Give --port a number from 0 to 65535, not "${text}".`);
}

function readRequestIds(text: string): RequestIds {
  const mode = requestIdModes.find((known) => known === text);
  if (mode) return mode;
  throw new UsageError(`Give --request-ids one of ${requestIdModes.join(", ")}, not "${text}".`);
}

const requestIdModes: readonly RequestIds[] = ["honour", "ignore", "repeat", "none"];

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
  const send = (authorization: string, path: string, data: string) =>
    `curl -sS -H ${authorization} -H "Content-Type: application/json" -d ${data} ${baseUrl}/${path}`;
  const post = (path: string, body: object) =>
    send(auth, `protocol/plans/${path}`, quote(JSON.stringify(body)));
  const accepted = { scheme: "nvm:erc4337", network: "eip155:84532", planId };
  const issue = send(
    quote(`Authorization: Bearer ${buyerKey(holderAddress)}`),
    "x402/permissions",
    quote(JSON.stringify({ accepted })),
  );
  const payment = {
    paymentRequired: {
      x402Version: 2,
      resource: { url: "/paid" },
      accepts: [accepted],
      extensions: {},
    },
    maxAmount: "5",
  };
  // The token comes out of the shell, between two quoted parts.
  const data = `${quote(`${JSON.stringify(payment).slice(0, -1)},"x402AccessToken":"`)}"$TOKEN"${quote('"}')}`;
  const place = `${encodeURIComponent(planId)}/balance/${encodeURIComponent(holderAddress)}`;
  return `The ledger listens at ${baseUrl} (end it with Ctrl+C).
${ownKey ? "Set NVM_API_KEY to the key that you gave, then try:" : "Try:"}

${post("mint", { planId, holderAddress, amount: 100 })}
curl -sS ${quote(`${baseUrl}/protocol/plans/${place}`)}
${post("redeem", { planId, holderAddress, amount: 5, proof: "0xproof" })}

With x402, the buyer asks for an access token, and the seller verifies and settles it:

TOKEN=$(${issue} | sed 's/.*"accessToken":"\\([^"]*\\)".*/\\1/')
${send(auth, "x402/verify", data)}
${send(auth, "x402/settle", data)}
`;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
