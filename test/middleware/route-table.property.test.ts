import express, { type Request } from "express";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createRouteTable } from "../../src/middleware/route-table.ts";
import {
  type Cost,
  couldMean,
  type MakeMatch,
  type Match,
  type Outcome,
  requests,
  type Visit,
  visit,
  worlds,
} from "./route-world.ts";

const realTable: MakeMatch = (routes) =>
  createRouteTable(
    routes,
    (cost) => cost === "free",
    (cost) => (cost === "free" ? undefined : cost),
  ).match;

const faults = {
  unmetered: "a priced handler was reached unmetered",
  less: "a priced handler was reached for less",
  foreign: "a row was found that the request cannot mean",
  refused: "a request that nobody could misread was refused",
  missed: "the only row that the request can mean was not found",
} as const;
type Fault = keyof typeof faults;

/** What a table must never do, whatever the application and the request. */
function* judge({ routes, outcomes }: Visit): Generator<{ fault: Fault; outcome: Outcome }> {
  for (const outcome of outcomes) {
    const { method, target, metered, row, refused, reached } = outcome;
    if (!metered) continue;
    const charged = row === undefined ? undefined : routes[row];
    const due = reached === undefined ? undefined : routes[reached];
    const possible = Object.keys(routes).filter((key) => couldMean(key, method, target));
    if (typeof due === "number" && typeof charged !== "number") {
      yield { fault: "unmetered", outcome };
    }
    if (isLess(charged, due) && !hasTwin(reached, routes)) yield { fault: "less", outcome };
    if (row !== undefined && !possible.includes(row)) yield { fault: "foreign", outcome };
    if (refused && isOrdinary(target)) yield { fault: "refused", outcome };
    if (due !== undefined && possible.length === 1 && row !== reached) {
      yield { fault: "missed", outcome };
    }
  }
}

/** A path of ordinary characters, alone or behind an ordinary host. */
function isOrdinary(target: string): boolean {
  return /^(?:https?:\/\/[a-z.]+)?\/(?:[\w/.;-]|%[2-7][0-9a-f])*(?:\?[^#]*)?$/i.test(target);
}

function isLess(charged: Cost | undefined, due: Cost | undefined): boolean {
  return typeof charged === "number" && typeof due === "number" && charged < due;
}

/** Which of such rows a spelling means, only the settings of the routers could say. */
function hasTwin(key: string | undefined, routes: Readonly<Record<string, Cost>>): boolean {
  return Object.keys(routes).some((other) => other !== key && shape(other) === shape(key));
}

/** Rows between which nothing but case and slashes decides are told apart by their spelling. */
function shape(key = ""): string {
  const path = key.slice(key.indexOf(" ") + 1).toLowerCase();
  return path.replace(/\/+$/, "").replace(/[:*]\w+/g, ":");
}

function property(makeMatch: MakeMatch, looked: readonly Fault[]) {
  const batch = fc.array(requests, { minLength: 10, maxLength: 30 });
  return fc.asyncProperty(worlds, batch, async (world, list) => {
    const visited = await visit(world, list, makeMatch);
    for (const { fault, outcome } of judge(visited)) {
      if (!looked.includes(fault)) continue;
      throw new Error(`${faults[fault]}: ${JSON.stringify({ outcome, routes: visited.routes })}`);
    }
  });
}

test("whatever reaches a priced handler was metered", async () => {
  await fc.assert(property(realTable, Object.keys(faults) as Fault[]), { numRuns: 1_000 });
});

describe("a broken matcher is found out", () => {
  const pathOf = (req: Request) => req.baseUrl + req.path;

  /** The first row that matches the whole path under these settings, and no second thought. */
  function oneReading(routes: Readonly<Record<string, Cost>>, settings: express.RouterOptions) {
    const router = express.Router(settings);
    let found: ReturnType<Match>;
    for (const [key, value] of Object.entries(routes)) {
      const [method = "", path = ""] = key.split(" ");
      router[method.toLowerCase() as "all"](path, () => {
        found = { key, value };
      });
    }
    return (method: string, url: string) => {
      found = undefined;
      router({ method, url, baseUrl: "" } as Request, {} as express.Response, () => {});
      return found;
    };
  }

  const believing: MakeMatch = (routes) => (req) => {
    const settings = {
      caseSensitive: req.app.enabled("case sensitive routing"),
      strict: req.app.enabled("strict routing"),
    };
    return oneReading(routes, settings)(req.method, pathOf(req));
  };
  const anySpelling = { caseSensitive: false, strict: false };

  const broken: Record<string, MakeMatch> = {
    "that compares strings": (routes) => (req) => {
      const key = `${req.method} ${pathOf(req)}`;
      const value = routes[key];
      return value === undefined ? undefined : { key, value };
    },
    "that knows HEAD only by its name": (routes) => {
      const forHead = Object.entries(routes).filter(([key]) => !key.startsWith("GET "));
      const match = realTable(routes);
      const matchHead = realTable(Object.fromEntries(forHead));
      return (req) => (req.method === "HEAD" ? matchHead(req) : match(req));
    },
    "that takes doubled slashes as they are": (routes) => {
      const match = realTable(routes);
      const read = oneReading(routes, anySpelling);
      return (req) =>
        req.originalUrl.replace("://", "").includes("//")
          ? read(req.method, pathOf(req))
          : match(req);
    },
    "that is always case-sensitive": (routes) => {
      const read = oneReading(routes, { caseSensitive: true });
      return (req) => read(req.method, pathOf(req));
    },
    "that decodes the path first": (routes) => {
      const read = oneReading(routes, anySpelling);
      return (req) => read(req.method, decodeURIComponent(pathOf(req)));
    },
    "that forgets the mount path": (routes) => {
      const read = oneReading(routes, anySpelling);
      return (req) => read(req.method, req.path);
    },
    "that believes the application's settings": (routes) => believing(routes),
    "that takes the first row that could be meant": (routes) => {
      const read = oneReading(routes, anySpelling);
      return (req) => read(req.method, `${pathOf(req)}/`.replace(/\/{2,}/g, "/"));
    },
    "that finds some price": (routes) =>
      believing(Object.fromEntries(Object.entries(routes).filter(([, cost]) => cost !== "free"))),
    "that meters nothing": () => () => undefined,
    "that lets OPTIONS pass": (routes) => {
      const match = realTable(routes);
      return (req) => (req.method === "OPTIONS" ? undefined : match(req));
    },
    "that meters everything": (routes) => () => {
      const [key, value] = Object.entries(routes).find(([, cost]) => cost !== "free") ?? [];
      return key === undefined || value === undefined ? undefined : { key, value };
    },
  };

  const others: Readonly<Record<string, Fault>> = {
    "that finds some price": "less",
    "that meters everything": "foreign",
    "that meters nothing": "missed",
  };

  test.each(Object.entries(broken))("%s", async (name, makeMatch) => {
    const found = await fc.check(property(makeMatch, [others[name] ?? "unmetered"]), {
      seed: 20240501,
      numRuns: 2_000,
      endOnFailure: true,
    });
    expect(found.failed).toBe(true);
  });
});
