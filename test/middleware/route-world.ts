/**
 * Random applications, the price tables that a careful user would write for them, random requests,
 * and what tells which handler each request reached and which row the table found.
 */

import { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import express, { type Express, type Request, type RequestHandler, type Response } from "express";
import fc from "fast-check";
import type { Row } from "../../src/middleware/route-table.ts";

export const isExpress4 = "lazyrouter" in express.application;

/** What the table of these tests holds: a fixed price. */
export type Cost = number | "free";
export type Match = (req: Request) => Pick<Row<Cost>, "key" | "value"> | undefined;
export type MakeMatch = (routes: Readonly<Record<string, Cost>>) => Match;

interface Settings {
  readonly caseSensitive?: boolean | undefined;
  readonly strict?: boolean | undefined;
}

interface RouteSpec {
  readonly kind: "route";
  readonly method: "GET" | "POST" | "ALL" | "HEAD";
  readonly path: string;
  /** Unlisted routes are free and stand in no row. */
  readonly cost: Cost | "unlisted";
  /** How a route `/` below a mount path is written: with the slash or without. */
  readonly slash: boolean;
}

interface NestSpec extends Settings {
  readonly kind: "router" | "app";
  readonly mount: string;
  readonly mergeParams: boolean;
  readonly children: readonly Spec[];
}

type Spec = RouteSpec | NestSpec;

export interface WorldSpec extends Settings {
  readonly children: readonly Spec[];
  /** Where the meter is: in front of everything, at a mount path in front, or first in a router. */
  readonly meter: "root" | "mount" | "inside";
  readonly meterAt: number;
}

export interface RequestSpec {
  readonly method: string;
  readonly route: number;
  readonly values: readonly string[];
  readonly edits: readonly { readonly kind: Edit; readonly at: number; readonly text: string }[];
  readonly host: string;
  readonly query: string;
}

export interface Outcome {
  readonly method: string;
  readonly target: string;
  /** Whether the meter saw the request. */
  metered: boolean;
  row: string | undefined;
  /** Whether the table threw. */
  refused: boolean;
  /** The row of the handler that answered, as the careful user wrote it; "unlisted" if in no row. */
  reached: string | undefined;
}

interface World {
  readonly app: Express;
  readonly routes: Readonly<Record<string, Cost>>;
  /** Full paths of all routes, priced or not. */
  readonly paths: readonly string[];
}

const setting = fc.option(fc.boolean(), { nil: undefined });
const name = fc.constantFrom("v1", "V1", "chat", "Chat", "me", "a.b", "%61b", "x;y", "%2F");
const segment = fc.oneof(
  { weight: 5, arbitrary: name },
  { weight: 2, arbitrary: fc.constantFrom(":id", ":ID", ":a-:b", ":file.json") },
);
const trail = fc.oneof(
  { weight: 4, arbitrary: fc.constant("") },
  { weight: 1, arbitrary: fc.constant("/") },
);
const wildcard = isExpress4 ? "/*" : "/*rest";
const optional = isExpress4 ? "/:maybe?" : "{/:maybe}";
const tail = fc.oneof(
  { weight: 4, arbitrary: trail },
  { weight: 1, arbitrary: fc.constantFrom(wildcard, optional) },
);

function joined(most: number, end: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc
    .tuple(fc.array(segment, { maxLength: most }), end)
    .map(([segments, last]) => segments.map((part) => `/${part}`).join("") + last || "/");
}

const route: fc.Arbitrary<RouteSpec> = fc.record({
  kind: fc.constant("route" as const),
  method: fc.constantFrom("GET", "POST", "POST", "ALL", "HEAD"),
  path: joined(2, tail),
  cost: fc.constantFrom<Cost | "unlisted">(1, 10, 100, "free", "free", "unlisted"),
  slash: fc.boolean(),
});

function specs(depth: number): fc.Arbitrary<Spec[]> {
  if (depth === 0) return fc.array(route, { minLength: 1, maxLength: 3 });
  const nest: fc.Arbitrary<NestSpec> = fc.record({
    kind: fc.constantFrom("router", "router", "app"),
    mount: joined(depth === 1 ? 1 : 2, trail),
    caseSensitive: setting,
    strict: setting,
    mergeParams: fc.boolean(),
    children: specs(depth - 1),
  });
  const child = fc.oneof<fc.WeightedArbitrary<Spec>[]>(
    { weight: 3, arbitrary: route },
    { weight: 2, arbitrary: nest },
  );
  return fc.array(child, { minLength: 1, maxLength: 4 });
}

export const worlds: fc.Arbitrary<WorldSpec> = fc.record({
  caseSensitive: setting,
  strict: setting,
  children: specs(3),
  meter: fc.constantFrom("root", "root", "mount", "inside"),
  meterAt: fc.nat(20),
});

const edits = ["case", "slashes", "end", "encode", "insert", "cut", "twice"] as const;
type Edit = (typeof edits)[number];

const value = fc.constantFrom(
  ...["7", "chat", "CHAT", "v1", "me", "ME", "a%2Fb", "%63hat", "x.y", "q-r", "..", "%zz", "%61b"],
  ...["it's", "a{b", "f.json", ";", "a/b", "", "%2f", "e\u00a0"],
);

export const requests: fc.Arbitrary<RequestSpec> = fc.record({
  method: fc.constantFrom("as routed", "as routed", "as routed", "GET", "HEAD", "POST", "OPTIONS"),
  route: fc.nat(50),
  values: fc.array(value, { minLength: 6, maxLength: 6 }),
  edits: fc.array(
    fc.record({
      kind: fc.constantFrom(...edits),
      at: fc.nat(40),
      text: fc.constantFrom(
        ...["/", "//", "///", ";", "..", "/../", "/./", ".", "%zz", "%2F", "%00", "{", "'", "\\"],
        ...["#", "#/", "?", "\u00a0", "/x", "chat"],
      ),
    }),
    { maxLength: 2 },
  ),
  host: fc.oneof(
    { weight: 9, arbitrary: fc.constant("") },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        ...["http://host", "http://host", "HTTP://h", "foo://host", "http://ho;st", "http://u@h"],
        "javascript://h",
      ),
    },
  ),
  query: fc.constantFrom("", "", "", "?a=/b", "?", "#x"),
});

function buildWorld(spec: WorldSpec, makeMatch: MakeMatch, note: Notes): World {
  const routes: Record<string, Cost> = {};
  const paths: string[] = [];
  const app = express();
  configure(app, spec);

  let match: Match | undefined;
  const meter: RequestHandler = (req, _res, next) => {
    const outcome = note(req);
    outcome.metered = true;
    try {
      outcome.row = rowKey(match?.(req));
    } catch (error) {
      outcome.refused = true;
      return next(error);
    }
    next();
  };

  const nests = listNests(spec.children);
  const chosen = nests[spec.meterAt % Math.max(nests.length, 1)];
  if (spec.meter === "root" || !chosen) app.use(meter);
  else if (spec.meter === "mount") app.use(chosen.reachedAt, meter);

  fill(app, spec.children, "");
  match = makeMatch(routes);
  return { app, routes, paths };

  function fill(parent: Express, children: readonly Spec[], prefix: string) {
    for (const child of children) {
      if (child.kind === "route") addRoute(parent, child, prefix);
      else addNest(parent, child, prefix);
    }
  }

  function addRoute(parent: Express, child: RouteSpec, prefix: string) {
    const whole = child.path === "/" && !child.slash && prefix ? prefix : prefix + child.path;
    const key = `${child.method} ${whole}`;
    if (child.cost !== "unlisted") routes[key] ??= child.cost;
    const reached = child.cost === "unlisted" && !(key in routes) ? "unlisted" : key;
    paths.push(key);
    const method = child.method.toLowerCase() as "all" | "get" | "head" | "post";
    parent[method](child.path, ((req, res) => {
      note(req).reached = reached;
      res.end();
    }) as RequestHandler);
  }

  function addNest(parent: Express, child: NestSpec, prefix: string) {
    const { caseSensitive, strict, mergeParams } = child;
    const nest = (child.kind === "app" ? express() : express.Router(options())) as Express;
    if (child.kind === "app") configure(nest, child);
    if (spec.meter === "inside" && chosen?.nest === child) nest.use(meter);
    fill(nest, child.children, prefix + child.mount.replace(/\/+$/, ""));
    parent.use(child.mount, nest);

    function options(): express.RouterOptions {
      return {
        mergeParams,
        ...(caseSensitive !== undefined && { caseSensitive }),
        ...(strict !== undefined && { strict }),
      };
    }
  }
}

type Notes = (req: Request) => Outcome;

function configure(app: Express, { caseSensitive, strict }: Settings) {
  if (caseSensitive !== undefined) app.set("case sensitive routing", caseSensitive);
  if (strict !== undefined) app.set("strict routing", strict);
}

function listNests(
  children: readonly Spec[],
  prefix = "",
): { readonly nest: NestSpec; readonly reachedAt: string }[] {
  return children.flatMap((child) => {
    if (child.kind === "route") return [];
    const reachedAt = prefix + child.mount.replace(/\/+$/, "");
    return [{ nest: child, reachedAt: reachedAt || "/" }, ...listNests(child.children, reachedAt)];
  });
}

function rowKey(row: { readonly key: string } | undefined): string | undefined {
  return row?.key;
}

/** The request's own spelling of a route of the world. */
function writeRequest(spec: RequestSpec, world: World): { method: string; target: string } {
  const key = world.paths[spec.route % world.paths.length] ?? "GET /";
  const [routed = "GET", pattern = "/"] = key.split(" ");
  const values = [...spec.values];
  let path = pattern.replace(/[{}?]/g, "").replace(/[:*]\w*/g, () => values.shift() ?? "x");
  for (const { kind, at, text } of spec.edits) path = edit(path, kind, at, text);
  const method = spec.method === "as routed" ? routed.replace("ALL", "PUT") : spec.method;
  return { method, target: (spec.host + path || "/") + spec.query };
}

function edit(path: string, kind: Edit, at: number, text: string): string {
  const position = path.length === 0 ? 0 : at % path.length;
  const slashes = [...path.matchAll(/\/+/g)].map((found) => found.index);
  const slash = slashes[at % Math.max(slashes.length, 1)] ?? 0;
  const letter = path[position] ?? "/";
  const before = path.slice(0, position);
  const after = path.slice(position + 1);
  switch (kind) {
    case "case":
      return at % 2 === 0 ? path.toUpperCase() : path.toLowerCase();
    case "slashes":
      return `${path.slice(0, slash)}${at % 3 === 0 ? "//" : "/"}${path.slice(slash)}`;
    case "end":
      return path.length > 1 && path.endsWith("/") ? path.slice(0, -1) : `${path}/`;
    case "encode":
      return `${before}%${(letter.charCodeAt(0) & 0xff).toString(16).padStart(2, "0")}${after}`;
    case "insert":
      return before + (path[position] === undefined ? "" : letter) + text + after;
    case "cut":
      return path.slice(0, slash) || "/";
    case "twice":
      return path + path.slice(slash);
  }
}

export interface Visit {
  readonly routes: Readonly<Record<string, Cost>>;
  readonly outcomes: readonly Outcome[];
}

/**
 * Hands requests to the application as Node's server does after parsing, their targets unmended, and
 * tells what became of each when Express is done with it.
 */
export async function visit(
  worldSpec: WorldSpec,
  requestSpecs: readonly RequestSpec[],
  makeMatch: MakeMatch,
): Promise<Visit> {
  const outcomes = new Map<unknown, Outcome>();
  const world = buildWorld(worldSpec, makeMatch, (req) => outcomes.get(req) as Outcome);
  for (const requestSpec of requestSpecs) {
    const { method, target } = writeRequest(requestSpec, world);
    await handle(world.app, method, target, (req) => {
      outcomes.set(req, {
        method,
        target,
        metered: false,
        row: undefined,
        refused: false,
        reached: undefined,
      });
    });
  }
  return { routes: world.routes, outcomes: [...outcomes.values()] };
}

/** Resolves when the response has ended, or with what Express hands on when no route answered. */
export function handle(
  app: Express,
  method: string,
  target: string,
  prepare: (req: Request) => void = () => {},
): Promise<unknown> {
  const req = new IncomingMessage(socket) as Request;
  const res = new ServerResponse(req) as Response;
  req.method = method;
  req.url = target;
  prepare(req);
  return new Promise((resolve) => {
    res.end = () => {
      resolve(undefined);
      return res;
    };
    app(req, res, resolve);
  });
}

const socket = new Socket();

/**
 * Whether a row could mean a target by the loosest reading there is: segment by segment, whatever
 * the case and the slashes. Written without Express, to judge the table.
 */
export function couldMean(key: string, method: string, target: string): boolean {
  const [rowMethod, pattern = ""] = key.split(" ");
  const methods = ["ALL", method, ...(method === "HEAD" ? ["GET"] : [])];
  if (!methods.includes(rowMethod ?? "")) return false;
  const path =
    target
      .replace(/\u00a0$/, "")
      .replace(/^[^/?#]+:\/\/[^/?#]*/, "")
      .split(/[?#]/, 1)[0] ?? "";
  const segments = path.split("/").filter((part) => part !== "");
  const source = pattern
    .replace("{/:maybe}", "/:maybe?")
    .split("/")
    .filter((part) => part !== "")
    .map((part) => {
      if (part.startsWith("*")) return "(/.+)?";
      if (part === ":maybe?") return "(/[^/]+)?";
      const parts = part.split(/:\w+/).map((text) => text.replace(/[.;]/g, "\\$&"));
      return `/${parts.join("[^/]+")}`;
    })
    .join("");
  const whole = segments.map((part) => `/${part}`).join("");
  return new RegExp(`^${source}$`, "is").test(whole);
}
