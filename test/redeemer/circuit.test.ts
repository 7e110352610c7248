import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { waitBeforeRetry } from "../../src/redeemer/backoff.ts";
import {
  afterAnswer,
  afterQuestion,
  allowance,
  type Circuit,
  closedCircuit,
  costlyWaitMs,
} from "../../src/redeemer/circuit.ts";
import type { Answer } from "../../src/redemption.ts";
import { away, completed, lost, refused, wrongKey } from "./world.ts";

const options = { threshold: 3, backoff: { baseMs: 100, maxMs: 1_000 }, costly: false };
const closed = closedCircuit(options);
const busy: Answer = { ...away, reason: "still-running" };
const mismatch: Answer = { ...lost, reason: "idempotency-mismatch" };
const odd: Answer = { ...lost, reason: "unexpected-answer" };

/** Answers in a row at time 0, each with the holder who met it. */
function met(answers: readonly (readonly [Answer, string])[], start: Circuit = closed) {
  return answers.reduce(
    (circuit, [answer, holder]) => afterAnswer(circuit, answer, holder, 0, 0.5),
    start,
  );
}

describe("the circuit", () => {
  test.each([
    ["nothing", [], false],
    [
      "fewer troubles than the threshold",
      [
        [lost, "a"],
        [lost, "b"],
      ],
      false,
    ],
    [
      "as many",
      [
        [lost, "a"],
        [lost, "b"],
        [lost, "a"],
      ],
      "answer-lost",
    ],
    [
      "troubles of several kinds",
      [
        [lost, "a"],
        [away, "b"],
        [odd, "a"],
      ],
      "unexpected-answer",
    ],
    [
      "an answer in between",
      [
        [lost, "a"],
        [lost, "a"],
        [refused, "a"],
        [lost, "a"],
      ],
      false,
    ],
    [
      "a body that the ledger does not like",
      [
        [lost, "a"],
        [lost, "a"],
        [mismatch, "a"],
        [lost, "a"],
      ],
      false,
    ],
    [
      "one that is still running",
      [
        [lost, "a"],
        [lost, "a"],
        [busy, "a"],
        [lost, "a"],
      ],
      false,
    ],
    [
      "a fault of the configuration that one holder meets",
      [
        [wrongKey, "a"],
        [wrongKey, "a"],
      ],
      false,
    ],
    [
      "one that two meet",
      [
        [wrongKey, "a"],
        [wrongKey, "b"],
      ],
      "configuration-fault",
    ],
    [
      "two that meet it with trouble between",
      [
        [wrongKey, "a"],
        [away, "b"],
        [wrongKey, "b"],
      ],
      "configuration-fault",
    ],
    [
      "two that meet it with an answer between",
      [
        [wrongKey, "a"],
        [completed, "c"],
        [wrongKey, "b"],
      ],
      false,
    ],
  ] as [string, [Answer, string][], string | false][])("after %s", (_name, answers, reason) => {
    expect(met(answers).open?.reason ?? false).toBe(reason);
  });

  const open = met([
    [lost, "a"],
    [lost, "a"],
    [lost, "a"],
  ]);

  test("while closed, allows what is free, less a place for each trouble in a row", () => {
    expect(allowance(closed, 8, 3, 0)).toEqual({ limit: 5 });
    expect(allowance(met([[lost, "a"]]), 8, 3, 0)).toEqual({ limit: 4 });
    expect(
      allowance(
        met([
          [lost, "a"],
          [lost, "a"],
        ]),
        2,
        1,
        0,
      ).limit,
    ).toBeLessThanOrEqual(0);
  });

  test("never allows nothing for ever: with nothing on the wire there is a place", () => {
    expect(
      allowance(
        met([
          [lost, "a"],
          [lost, "a"],
        ]),
        1,
        0,
        0,
      ),
    ).toEqual({ limit: 1 });
  });

  test("while open, allows one at a time, when it is due, of another holder", () => {
    expect(open.open).toEqual({
      reason: "answer-lost",
      probes: 0,
      notBefore: 50,
      lastHolder: "a",
      atLast: costlyWaitMs,
    });
    expect(allowance(open, 8, 0, 49)).toEqual({ limit: 0, avoid: "a" });
    expect(allowance(open, 8, 0, 50)).toEqual({ limit: 1, avoid: "a" });
    expect(allowance(open, 8, 1, 50)).toEqual({ limit: 0, avoid: "a" });
  });

  test("waits longer after each probe, and as long as the ledger asks", () => {
    const second = afterAnswer(open, lost, "b", 50, 0.5);
    expect(second.open).toMatchObject({ probes: 1, notBefore: 50 + 100, lastHolder: "b" });
    const asked = afterAnswer(second, { ...away, retryAfterMs: 5_000 }, "c", 150, 0.5);
    expect(asked.open).toMatchObject({
      notBefore: 150 + 5_000 + 200,
      reason: "ledger-unreachable",
    });
  });

  test("what was on the wire when it opened is no probe", () => {
    expect(afterAnswer(open, lost, "b", 49, 0.5)).toBe(open);
  });

  test.each([
    ["completed", completed],
    ["failed", refused],
    ["still running", busy],
    ["a mismatch", mismatch],
  ])("closes when the ledger has decided: %s", (_name, answer) => {
    expect(afterAnswer(open, answer, "b", 10, 0.5)).toEqual(closed);
  });
});

describe("an outage", () => {
  /** Sends as the redeemer does: as much as is allowed, whenever it is; every answer is lost. */
  function outage(
    concurrency: number,
    threshold: number,
    hours: number,
    random: () => number,
    costly?: { there: boolean },
  ) {
    const backoff = { baseMs: 250, maxMs: 30_000 };
    let circuit = closedCircuit({ threshold, backoff, costly: costly !== undefined });
    let questions = 0;
    let onWire = concurrency;
    let lostOnes = 0;
    let now = 0;
    let probes = 0;
    while (now < hours * 3_600_000) {
      if (onWire > 0) {
        onWire -= 1;
        lostOnes += 1;
        circuit = afterAnswer(circuit, lost, "a", now, random());
      } else if (circuit.open) {
        now = Math.max(now, circuit.open.notBefore);
      }
      const { limit, ask } = allowance(circuit, concurrency, onWire, now);
      if (ask) {
        questions += 1;
        circuit = afterQuestion(circuit, costly?.there === true, now, random());
      }
      if (circuit.open) probes += Math.max(0, limit);
      onWire += Math.max(0, limit);
    }
    return { lostOnes: lostOnes + onWire, probes, questions };
  }

  test("leaves at most what was on the wire, or the threshold, and the probes unresolved", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 10 }),
        fc.double({ min: 0.01, max: 0.99, noNaN: true }),
        (concurrency, threshold, random) => {
          const { lostOnes, probes } = outage(concurrency, threshold, 0.2, () => random);
          expect(lostOnes).toBeLessThanOrEqual(Math.max(concurrency, threshold) + probes);
        },
      ),
    );
  });

  test.each([
    ["that answers nothing", false, 24 * 6 + 10],
    ["whose other answers come", true, 24 * 12 + 20],
  ])("of a day leaves a few unresolved at a ledger %s", (_name, there, most) => {
    const { lostOnes, questions } = outage(16, 5, 24, () => 0.5, { there });
    expect(lostOnes).toBeLessThanOrEqual(16 + most);
    expect(questions).toBeGreaterThan(there ? 100 : 3_000);
  });

  test("of a day is probed now and then only", () => {
    const { lostOnes, probes } = outage(16, 5, 24, () => 0.5);
    // 24 h at half of 30 s, and the shorter waits of the beginning.
    expect(probes).toBeGreaterThan(5_000);
    expect(probes).toBeLessThan(24 * 240 + 20);
    expect(lostOnes).toBeLessThanOrEqual(16 + probes);
  });
});

describe("an outage that leaves a charge unresolved at each probe", () => {
  const open = met(
    [
      [lost, "a"],
      [lost, "a"],
      [odd, "a"],
    ],
    closedCircuit({ ...options, costly: true }),
  );

  test("is probed with something harmless first", () => {
    expect(allowance(open, 8, 0, 49)).toEqual({ limit: 0, avoid: "a" });
    expect(allowance(open, 8, 0, 50)).toEqual({ limit: 0, ask: true });
    const there = afterQuestion(open, true, 60, 0.5);
    expect(allowance(there, 8, 0, 60)).toEqual({ limit: 1, avoid: "a" });
    // The answer to a question does not close it: the probe must come back, too.
    const again = afterAnswer(there, lost, "b", 60, 0.5);
    expect(allowance(again, 8, 0, 60 + 100)).toEqual({ limit: 0, ask: true });
    expect(afterAnswer(there, completed, "b", 60, 0.5).open).toBeUndefined();
  });

  test("asks again, later and later, and at last sends a charge without an answer", () => {
    const first = afterQuestion(open, false, 50, 0.5);
    expect(first.open).toMatchObject({ questions: 1, notBefore: 50 + 50 });
    const second = afterQuestion(first, false, 100, 0.5);
    expect(second.open).toMatchObject({ questions: 2, notBefore: 100 + 100 });
    expect(allowance(second, 8, 0, costlyWaitMs - 1)).toEqual({ limit: 0, ask: true });
    expect(allowance(second, 8, 0, costlyWaitMs)).toEqual({ limit: 1, avoid: "a" });
  });

  test("no question is asked where nothing was written, or the id is honoured", () => {
    const refusing = met(
      [
        [away, "a"],
        [away, "a"],
        [away, "a"],
      ],
      closedCircuit({ ...options, costly: true }),
    );
    expect(allowance(refusing, 8, 0, 50)).toEqual({ limit: 1, avoid: "a" });
    expect(afterQuestion(refusing, true, 50, 0.5)).toBe(refusing);
    expect(afterQuestion(closed, true, 50, 0.5)).toBe(closed);
  });
});

describe("the circuit, whatever comes", () => {
  const answer = fc.constantFrom(completed, refused, away, lost, odd, busy, mismatch, wrongKey);
  const step = fc.record({
    answer,
    holder: fc.constantFrom("a", "b", "c"),
    passes: fc.nat(3_000),
    random: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  });

  test("is open only after trouble, is due some time, and a decision of the ledger closes it", () => {
    fc.assert(
      fc.property(fc.array(step), fc.integer({ min: 1, max: 5 }), (steps, threshold) => {
        let circuit = closedCircuit({ ...options, threshold });
        let now = 0;
        let troubles = 0;
        for (const { answer: given, holder, passes, random } of steps) {
          now += passes;
          circuit = afterAnswer(circuit, given, holder, now, random);
          const decided = [completed, refused, busy, mismatch].includes(given);
          troubles = decided ? 0 : troubles + 1;
          if (decided) expect(circuit.open).toBeUndefined();
          if (troubles >= threshold) expect(circuit.open).toBeDefined();
          if (circuit.open) {
            expect(troubles).toBeGreaterThanOrEqual(Math.min(threshold, 2));
            // Nothing that comes can put the next probe further off than the longest wait.
            expect(circuit.open.notBefore - now).toBeLessThanOrEqual(options.backoff.maxMs);
          }
          const { limit } = allowance(circuit, 4, 0, now + options.backoff.maxMs);
          expect(limit).toBeGreaterThanOrEqual(1);
          expect(limit).toBeLessThanOrEqual(circuit.open ? 1 : 4);
        }
      }),
    );
  });
});

describe("the wait before sending again", () => {
  const backoff = { baseMs: 250, maxMs: 30_000 };

  test("is drawn below a ceiling that doubles and is bounded, and never undercuts Retry-After", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 100_000 }),
        fc.option(fc.integer({ min: 0, max: 10_000_000 }), { nil: undefined }),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (attempt, retryAfterMs, random) => {
          const ms = waitBeforeRetry(backoff, attempt, retryAfterMs, random);
          const asked = Math.min(retryAfterMs ?? 0, 3_600_000);
          expect(Number.isInteger(ms)).toBe(true);
          expect(ms).toBeGreaterThanOrEqual(asked);
          const ceiling = Math.min(30_000, 250 * 2 ** Math.min(attempt - 1, 50));
          expect(ms - asked).toBeLessThan(ceiling);
          expect(ms - asked).toBe(Math.floor(random * ceiling));
        },
      ),
    );
  });
});
