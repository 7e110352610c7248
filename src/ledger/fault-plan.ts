import { z } from "zod";
import { check } from "./check.ts";
import type { Endpoint, Fault, FaultName, FaultRates, GarbageForm, Script } from "./faults.ts";

/** What befalls requests and connections. */
export interface Faults {
  set(rates: FaultRates): void;
  failNext(name: FaultName, script: Script & object): void;
  /** What befalls the next request of an endpoint: mostly nothing. */
  draw(endpoint: Endpoint): readonly Fault[];
  drawConnection(): boolean;
}

const ms = z.int().min(0).max(600_000);
const endpoint = z.enum(["redeem", "mint", "balance", "permissions", "verify", "settle"]);
const burning: readonly Endpoint[] = ["redeem", "settle"];
const target = {
  on: z.union([endpoint, z.array(endpoint).min(1), z.literal("any")]).default([...burning]),
};
const code = z.string().min(1).optional();
const delay = {
  ms: z.union([ms, z.tuple([ms, ms]).refine(([min, max]) => min <= max)]).default(100),
};
const error = { status: z.int().min(500).max(599).default(500), code };
const refusal = {
  status: z.union([z.literal(200), z.int().min(400).max(499)]).default(402),
  code,
};
const garbage = { form: z.enum(["html", "truncated", "types", "empty"]).optional() };
const throttle = { retryAfter: z.int().min(0).max(86_400).default(1) };

/** In the order in which they are drawn. */
const details: Record<FaultName, z.ZodRawShape> = {
  "reject-connection-before-applying": {},
  "delay-before-applying": delay,
  "hang-before-applying": {},
  "error-before-applying": error,
  "throttle-before-applying": throttle,
  "refuse-before-applying": refusal,
  "garbage-before-applying": garbage,
  "drop-before-applying": {},
  "delay-after-applying": delay,
  "hang-after-applying": {},
  "error-after-applying": error,
  "garbage-after-applying": garbage,
  "drop-after-applying": {},
  "close-after-applying": {},
};
const names = Object.keys(details) as FaultName[];

/** A fault with its defaults filled in. */
interface Planned {
  name: FaultName;
  on: Endpoint | readonly Endpoint[] | "any";
  ms?: number | [number, number];
  form?: GarbageForm;
}
interface Rated extends Planned {
  rate: number;
}
interface Scripted extends Planned {
  times: number;
  after: number;
}

const count = z.int().min(0);
const scriptSchema = schemas({ times: count.min(1).default(1), after: count.default(0) });
const rateSchema = schemas({ rate: z.number().min(0).max(1) });

function schemas(more: z.ZodRawShape): Map<string, z.ZodType> {
  return new Map(
    names.map((name) => [name, z.strictObject({ ...target, ...details[name], ...more })]),
  );
}
function read(from: Map<string, z.ZodType>, name: string, value: unknown): Planned {
  const schema = from.get(name);
  if (!schema) throw new TypeError(`There is no fault "${name}": use one of ${names.join(", ")}.`);
  return { ...(check(schema, value, `details of ${name}`) as object), name } as Planned;
}

/**
 * The faults of one ledger. A scripted fault comes first and alone; else every rate draws. The
 * same seed draws the same sequence for the same requests in the same order.
 */
export function createFaults(seed: number): Faults {
  const random = mulberry32(seed);
  const script: Scripted[] = [];
  let rates: Rated[] = [];

  /** The head of the script for these requests: taken, told to wait (`null`), or nothing there. */
  function scripted(applies: (planned: Planned) => boolean): Scripted | null | undefined {
    const next = script.find(applies);
    if (!next) return undefined;
    if (next.after > 0) {
      next.after -= 1;
      return null;
    }
    next.times -= 1;
    if (next.times === 0) script.splice(script.indexOf(next), 1);
    return next;
  }
  function settled({ on: _on, ...planned }: Planned): Fault {
    const { ms, form } = planned;
    return {
      ...planned,
      ms: Array.isArray(ms) ? ms[0] + Math.floor(random() * (ms[1] - ms[0] + 1)) : ms,
      form: planned.name.startsWith("garbage-") ? (form ?? drawForm(random())) : undefined,
    };
  }

  return {
    set(next) {
      const given = Object.entries(next).map(
        ([name, rate]) =>
          read(rateSchema, name, typeof rate === "number" ? { rate } : rate) as Rated,
      );
      rates = given.sort((a, b) => names.indexOf(a.name) - names.indexOf(b.name));
    },
    failNext(name, options) {
      script.push(read(scriptSchema, name, options) as Scripted);
    },
    draw(endpoint) {
      if (script.length === 0 && rates.length === 0) return none;
      const applies = ({ name, on }: Planned) =>
        name !== connection && (on === "any" || [on].flat().includes(endpoint));
      const next = scripted(applies);
      if (next !== undefined) return next ? [settled(next)] : none;
      return rates
        .filter(applies)
        .filter((rated) => random() < rated.rate)
        .map(settled);
    },
    drawConnection() {
      const applies = (planned: Planned) => planned.name === connection;
      const next = scripted(applies);
      if (next !== undefined) return next !== null;
      const rated = rates.find(applies);
      return rated !== undefined && random() < rated.rate;
    },
  };
}

const none: readonly Fault[] = [];
const connection: FaultName = "reject-connection-before-applying";
const forms = ["html", "truncated", "types", "empty"] as const;

function drawForm(random: number): GarbageForm {
  return forms[Math.floor(random * forms.length)] ?? "html";
}

/** Mulberry32, Tommy Ettinger's small generator of 32 bits of state: enough for tests, no more. */
function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}
