/** The example's verifier with real signatures, alone and behind a meter. */

import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import path from "node:path";
import { promisify } from "node:util";
import fc from "fast-check";
import request from "supertest";
import { bytesToHex, concatHex, type Hex, hexToBigInt, slice, toHex } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { describe, expect, test } from "vitest";
import { pay, sign } from "../../examples/verify-proof/buyer.ts";
import {
  type Claim,
  eip712Verifier,
  type ProofDomain,
} from "../../examples/verify-proof/eip712.ts";
import type { GuardSettings, Payment } from "../../src/index.ts";
import { meteredApi, plan } from "../support/api.ts";

const domain: ProofDomain = { name: "Test API", version: "1", chainId: 84_532 };
const nowSeconds = 1_800_000_000;
const verifier = eip712Verifier({ domain, now: () => nowSeconds * 1_000 });
const newAccount = () => privateKeyToAccount(generatePrivateKey());
const holder = newAccount();

const newClaim = (): Claim => ({
  planId: plan,
  nonce: toHex(randomBytes(32)),
  deadline: nowSeconds + 60,
});

interface Proof {
  nonce: Hex;
  deadline: number;
  signature: Hex;
}
const read = (proof: string) => JSON.parse(proof) as Proof;
const change = (proof: string, changes: object) => JSON.stringify({ ...read(proof), ...changes });

function judge(proof: string, payment: Partial<Payment> = {}) {
  return verifier(
    { planId: plan, holderAddress: holder.address, proof, ...payment },
    undefined as never,
  );
}

const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

/** The other signature that everybody can make from one: s becomes n - s, and v the other. */
function malleate(signature: Hex): Hex {
  const s = order - hexToBigInt(slice(signature, 32, 64));
  const v = slice(signature, 64) === "0x1b" ? "0x1c" : "0x1b";
  return concatHex([slice(signature, 0, 32), toHex(s, { size: 32 }), v]);
}

/** v as 0 or 1 instead of 27 or 28. */
function withParity(signature: Hex): Hex {
  return concatHex([slice(signature, 0, 64), slice(signature, 64) === "0x1b" ? "0x00" : "0x01"]);
}

const inCapitals = (hex: Hex) => `0x${hex.slice(2).toUpperCase()}` as Hex;

/** One proof, spelt in other ways. */
const spellings: [string, (proof: string) => string][] = [
  ["a high s", (proof) => change(proof, { signature: malleate(read(proof).signature) })],
  ["another v", (proof) => change(proof, { signature: withParity(read(proof).signature) })],
  ["capitals", (proof) => change(proof, { signature: inCapitals(read(proof).signature) })],
  ["a nonce in capitals", (proof) => change(proof, { nonce: inCapitals(read(proof).nonce) })],
  ["spaces", (proof) => ` ${proof.replaceAll(",", " , ")}`],
  ["more members", (proof) => change(proof, { again: true })],
  [
    "another order",
    (proof) => JSON.stringify(Object.fromEntries(Object.entries(read(proof)).reverse())),
  ],
];

describe("the verifier", () => {
  test("takes what the holder signed, and names the nonce", async () => {
    const claim = newClaim();
    const verdict = await judge(await sign(holder, domain, claim));
    expect(verdict).toEqual({ nonce: `${holder.address.toLowerCase()} ${claim.nonce}` });
  });

  test("takes the holder's address in small letters", async () => {
    const proof = await sign(holder, domain, newClaim());
    const verdict = await judge(proof, { holderAddress: holder.address.toLowerCase() });
    expect(verdict).toBeTypeOf("object");
  });

  test.each(spellings)("names the same nonce for the proof with %s", async (_name, spell) => {
    const proof = await sign(holder, domain, newClaim());
    const other = spell(proof);
    expect(other).not.toBe(proof);
    expect(await judge(other)).toEqual(await judge(proof));
  });

  const forgeries: [string, (proof: string) => string | Promise<string>][] = [
    ["another key", () => sign(newAccount(), domain, newClaim())],
    ["another plan", () => sign(holder, domain, { ...newClaim(), planId: "2" })],
    ["another nonce", (proof) => change(proof, { nonce: toHex(randomBytes(32)) })],
    ["another deadline", (proof) => change(proof, { deadline: nowSeconds + 61 })],
    ["another API", () => sign(holder, { ...domain, name: "Other" }, newClaim())],
    ["another version", () => sign(holder, { ...domain, version: "2" }, newClaim())],
    ["another chain", () => sign(holder, { ...domain, chainId: 1 }, newClaim())],
    [
      "a deadline that is over",
      () => sign(holder, domain, { ...newClaim(), deadline: nowSeconds }),
    ],
    [
      "a deadline that is too far away",
      () => sign(holder, domain, { ...newClaim(), deadline: nowSeconds + 3_601 }),
    ],
    [
      "a signature that is cut off",
      (proof) => change(proof, { signature: read(proof).signature.slice(0, -2) }),
    ],
    [
      "a signature with a byte more",
      (proof) => change(proof, { signature: `${read(proof).signature}00` }),
    ],
    ["a proof that is cut off", (proof) => proof.slice(0, -1)],
    ["the bare signature", (proof) => read(proof).signature],
    ["a signature of zeros", (proof) => change(proof, { signature: `0x${"00".repeat(65)}` })],
    ["a signature of ones", (proof) => change(proof, { signature: `0x${"ff".repeat(65)}` })],
  ];
  test.each(forgeries)("refuses %s", async (_name, forge) => {
    expect(await judge(await forge(await sign(holder, domain, newClaim())))).toBe(false);
  });

  test("refuses a good proof for another holder or another plan", async () => {
    const proof = await sign(holder, domain, newClaim());
    expect(await judge(proof, { holderAddress: newAccount().address })).toBe(false);
    expect(await judge(proof, { planId: "2" })).toBe(false);
  });

  test("refuses a signature of which any byte is another", async () => {
    const proof = await sign(holder, domain, newClaim());
    const bytes = Buffer.from(read(proof).signature.slice(2), "hex");
    for (const at of bytes.keys()) {
      const signature = Buffer.from(bytes);
      // 0x40 makes no other spelling of v.
      signature[at] = (signature[at] ?? 0) ^ 0x40;
      expect(await judge(change(proof, { signature: bytesToHex(signature) })), `${at}`).toBe(false);
    }
  });

  test("refuses garbage, and never throws", async () => {
    const good = await sign(holder, domain, newClaim());
    const anything = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.json(),
      fc
        .record({ nonce: fc.jsonValue(), deadline: fc.jsonValue(), signature: fc.jsonValue() })
        .map((value) => JSON.stringify(value)),
      fc
        .tuple(fc.constantFrom("nonce", "deadline", "signature"), fc.jsonValue())
        .map(([name, value]) => change(good, { [name]: value })),
      fc.constantFrom("null", "[]", "0", '"0x"', "{}", '{"__proto__":{"nonce":"0x"}}'),
      fc.constantFrom("[", '{"a":').map((open) => open.repeat(1_500)),
    );
    await fc.assert(
      fc.asyncProperty(anything, async (proof) => {
        expect(await judge(proof)).toBe(false);
      }),
      { numRuns: 500 },
    );
  });
});

/** An API behind a meter, and a holder with credits. */
async function api(guard: GuardSettings, credits = 100) {
  const metered = await meteredApi({ routes: { "POST /": 2 }, guard }, (app, meter) => {
    app.use(meter);
    app.post("/", (_req, res) => void res.json({}));
  });
  metered.ledger.mint({ planId: plan, holderAddress: holder.address, amount: credits });
  const post = (headers: Record<string, string>) => request(metered.url).post("/").set(headers);
  return { ...metered, post };
}

const verifyProof = eip712Verifier({ domain });
const singleUse: GuardSettings = { verifyProof, proofs: "single-use" };

describe("behind a meter", () => {
  test("a signed proof pays", async () => {
    const { post, meter, ledger } = await api(singleUse);
    await post(await pay(holder, domain, plan)).expect(200);
    await post(await pay(holder, domain, plan)).expect(200);
    await meter.flush();
    expect(ledger.balance(plan, holder.address)).toBe(96);
  });

  test("a forged one is 402, and costs nothing", async () => {
    const { post, meter, ledger } = await api(singleUse);
    const forged = await pay(newAccount(), domain, plan);
    const { body } = await post({ ...forged, "Nevermined-Holder-Address": holder.address }).expect(
      402,
    );
    expect(body.code).toBe("proof-invalid");
    await meter.flush();
    expect(ledger.balance(plan, holder.address)).toBe(100);
  });

  test.each([["as it is", (proof: string) => proof], ...spellings] as typeof spellings)(
    "a proof that is used again with %s is 409, and is charged once",
    async (_name, spell) => {
      const { post, meter, ledger } = await api(singleUse);
      const headers = await pay(holder, domain, plan);
      await post(headers).expect(200);
      const again = spell(headers["Nevermined-Proof"] ?? "");
      const { body } = await post({ ...headers, "Nevermined-Proof": again }).expect(409);
      expect(body.code).toBe("proof-spent");
      await meter.flush();
      expect(ledger.balance(plan, holder.address)).toBe(98);
    },
  );

  test("the nonce of one holder is not used up by another", async () => {
    const { post, ledger } = await api(singleUse);
    const other = newAccount();
    ledger.mint({ planId: plan, holderAddress: other.address, amount: 100 });
    const claim = { ...newClaim(), deadline: Math.floor(Date.now() / 1_000) + 60 };
    for (const account of [other, holder]) {
      const proof = await sign(account, domain, claim);
      await post({
        "Nevermined-Plan-Id": plan,
        "Nevermined-Holder-Address": account.address,
        "Nevermined-Proof": proof,
      }).expect(200);
    }
  });

  test("the balance is told to a holder whose proof was verified, and to nobody else", async () => {
    const headers = await pay(holder, domain, plan);
    const forged = await pay(newAccount(), domain, plan);

    const verified = await api({ verifyProof }, 1);
    const told = await verified.post(headers).expect(402);
    expect(told.body).toMatchObject({ code: "insufficient-credits", balance: 1 });
    const refused = await verified
      .post({ ...forged, "Nevermined-Holder-Address": holder.address })
      .expect(402);
    expect(refused.body.code).toBe("proof-invalid");
    expect(refused.body).not.toHaveProperty("balance");

    const unverified = await api({}, 1);
    const silent = await unverified.post(headers).expect(402);
    expect(silent.body.code).toBe("insufficient-credits");
    expect(silent.body).not.toHaveProperty("balance");
  });
});

test("the example prints what became of its three requests", async () => {
  const root = path.resolve(import.meta.dirname, "../..");
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["--import", import.meta.resolve("tsx"), path.join(root, "examples/verify-proof/main.ts")],
    // The built package, as a user has it.
    { env: { ...process.env, TSX_TSCONFIG_PATH: path.join(root, "tsconfig.build.json") } },
  );
  const lines = stdout.split("\n").filter((line) => line !== "" && !line.startsWith("{"));
  expect(lines).toEqual([
    "paid: 200",
    "forged: 402 proof-invalid",
    "repeated: 409 proof-spent",
    "left: 98 of 100 credits",
  ]);
});
