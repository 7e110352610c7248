/**
 * A buyer that knows the headers of x402 v2 and where Nevermined gives access tokens, and nothing else: no
 * package, and none of this one's code. `npm run example:x402` shows it; elsewhere
 * `LEDGER_URL=… BUYER_KEY=… npx tsx examples/x402-buyer.ts <url> [JSON to post]`.
 */

const [url, json] = process.argv.slice(2);
const { LEDGER_URL: ledger, BUYER_KEY: key } = process.env;
if (!url || !ledger || !key) fail("Usage: LEDGER_URL=… BUYER_KEY=… x402-buyer.ts <url> [JSON]");
const contentType = { "content-type": "application/json" };

console.log(`1 ask       ${json ? "POST" : "GET"} ${url}`);
const unpaid = await ask();
const header = unpaid.headers.get("payment-required");
if (unpaid.status !== 402 || !header) fail(`It answers ${unpaid.status}, and asks for no payment.`);
const { resource, accepts } = decode(header);
console.log(`2 refused   402 payment-required: ${accepts.map(show).join(", or ")}`);

const offer = accepts.find(({ scheme }: Offer) => scheme === "nvm:erc4337");
if (!offer) fail("None of these can be paid with Nevermined's credits.");
const permission = await fetch(`${ledger}/x402/permissions`, {
  method: "POST",
  headers: { authorization: `Bearer ${key}`, ...contentType },
  body: JSON.stringify({ accepted: offer, resource }),
});
const { accessToken, message } = (await permission.json()) as Record<string, string>;
if (!accessToken) fail(`The ledger gives no access token: ${permission.status} ${message}`);
const token = decode(accessToken);
const holder = token.payload.authorization.from;
console.log(`3 permitted 201 accessToken: ${show(token.accepted)}, from ${holder}`);

const before = await balance();
const paid = await ask({ "payment-signature": accessToken });
console.log(`4 retry     ${paid.status} ${(await paid.text()).slice(0, 80)}`);
const refusal = paid.headers.get("payment-required");
if (!paid.ok) fail(`Not accepted${refusal ? `: ${decode(refusal).error}` : ""}.`);

// Who settles first says so in a header. Who answers first cannot, but the ledger knows.
const receipt = paid.headers.get("payment-response");
if (receipt && !decode(receipt).success) fail(`Not settled: ${decode(receipt).errorReason}`);
const deadline = Date.now() + 10_000;
let after = await balance();
while (after === before && Date.now() < deadline) {
  await new Promise((resolve) => setTimeout(resolve, 50));
  after = await balance();
}
if (after === before) fail(`Not settled: the balance is still ${after} credits.`);
console.log(`5 settled   the balance was ${before} credits, and is ${after}`);

type Offer = { scheme: string; network: string; planId: string };

function show({ scheme, network, planId }: Offer) {
  return `${scheme} on ${network}, plan ${planId}`;
}

function ask(payment = {}) {
  const post = json && { method: "POST", body: json };
  // Redirects could take the token to somebody else.
  return fetch(url ?? "", { ...post, headers: { ...contentType, ...payment }, redirect: "error" });
}

async function balance() {
  const plan = encodeURIComponent(offer.planId);
  const answer = await fetch(`${ledger}/protocol/plans/${plan}/balance/${holder}`);
  const { balance, remaining } = (await answer.json()) as Record<string, unknown>;
  return String(balance ?? remaining);
}

/** The headers of x402 and the access token are base64 of JSON. */
function decode(text: string) {
  return JSON.parse(Buffer.from(text, "base64").toString());
}

function fail(why: string): never {
  console.error(why);
  process.exit(1);
}
