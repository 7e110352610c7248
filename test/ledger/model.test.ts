import fc from "fast-check";
import { expect, test } from "vitest";
import { createLedger } from "../../src/ledger/index.ts";
import { mint, redeem } from "./wire.ts";

/*
 * Whatever is minted, redeemed and sent again, the ledger agrees with a few lines of arithmetic:
 * a map of balances and a map of answers by key.
 */
const movement = {
  planId: fc.constantFrom("1", "01", "__proto__"),
  holderAddress: fc.constantFrom("0xa", "0xA", "0xb"),
  amount: fc.integer({ min: 1, max: 12 }),
};
const step = fc.oneof(
  fc.record({
    kind: fc.constant("mint" as const),
    ...movement,
    id: fc.constantFrom(null, "m1", "m2"),
  }),
  fc.record({
    kind: fc.constant("redeem" as const),
    ...movement,
    id: fc.constantFrom(null, "r1", "r2", "m1"),
  }),
);

test("the ledger agrees with a simple model", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
      const ledger = await createLedger();
      try {
        const balances = new Map<string, number>();
        const answers = new Map<string, { asked: string; status: number; text: string }>();
        let burned = 0;
        for (const { kind, id, ...asked } of steps) {
          const account = `${asked.planId} ${asked.holderAddress.toLowerCase()}`;
          const held = balances.get(account) ?? 0;
          const what = JSON.stringify([kind, account, asked.amount]);
          const known = id === null ? undefined : answers.get(id);
          const said = await (kind === "mint" ? mint : redeem)(
            ledger,
            asked,
            id === null ? {} : { "idempotency-key": id },
          );
          if (known) {
            expect(said.status).toBe(known.asked === what ? known.status : 422);
            if (known.asked === what) expect(said.text).toBe(known.text);
            continue;
          }
          const enough = kind === "mint" || held >= asked.amount;
          expect(said.status).toBe(enough ? 200 : 402);
          if (enough) {
            balances.set(account, held + (kind === "mint" ? asked.amount : -asked.amount));
            if (kind === "redeem") burned += asked.amount;
          }
          if (id !== null) answers.set(id, { asked: what, status: said.status, text: said.text });
        }
        for (const [account, balance] of balances) {
          const [planId = "", holderAddress = ""] = account.split(" ");
          expect(ledger.balance(planId, holderAddress)).toBe(balance);
        }
        const outstanding = [...balances.values()].reduce((sum, each) => sum + each, 0);
        expect(ledger.audit()).toMatchObject({
          burned: BigInt(burned),
          outstanding: BigInt(outstanding),
        });
        expect(ledger.burns().reduce((sum, { amount }) => sum + amount, 0)).toBe(burned);
      } finally {
        await ledger.close();
      }
    }),
    { numRuns: 60 },
  );
});
