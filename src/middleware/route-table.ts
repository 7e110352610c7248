/**
 * Finds the row of the price table that a request belongs to, with Express's own router, so that
 * parameters, wildcards, encodings and methods mean here what they mean in the application.
 *
 * One flat table cannot repeat what nested routers do: each has its own case and strict setting
 * (`express.Router()` does not inherit the application's), and Express 4 lets a mount path swallow a
 * slash, so that `//` reaches a handler below it. What can be known is which rows *may* be the
 * route, read as loosely as any router might, and which row is the route *certainly*, because the
 * request spells it as it is written. The route is one of those that may be, up to the first that
 * certainly is. Mostly that is one row. Where it is several, whoever sends the request has chosen
 * the spelling, and must not get round a price by it: a price wins over "free", and of two fixed
 * prices the higher one.
 */

import { METHODS } from "node:http";
import express, { type NextFunction, type Request, type Response } from "express";
import { CreditMeterError } from "../errors.ts";

/** One row: `"POST /v1/embeddings"` and what stands behind it. */
export interface Row<Value> {
  /** As the user wrote it. */
  readonly key: string;
  readonly method: string;
  readonly path: string;
  readonly value: Value;
}

export interface RouteTable<Value> {
  /**
   * The row for a request. Throws what is to be answered 400: a parameter whose percent-encoding is
   * broken, as in Express, and a target whose path Express itself cannot keep apart.
   */
  match(req: Request): Row<Value> | undefined;
  /**
   * The row whose path is literally the route that answered, where that is not the path of the row
   * that was matched: a path rewritten behind the meter, two rows that overlap in another order than
   * the routes do, or a spelling that more than one row may mean. To be asked when the response has
   * ended.
   */
  mismatch(req: Request, matched: Row<Value> | undefined): Row<Value> | undefined;
  /** Rows that no request has matched yet. */
  unused(): readonly Row<Value>[];
}

/**
 * @param routes rows in the order in which they are tried, as in Express
 * @param isFree whether a row's requests are let through without a charge
 * @param fixedPrice what a row's requests cost, where that is known before they run
 */
export function createRouteTable<Value>(
  routes: Readonly<Record<string, Value>>,
  isFree: (value: Value) => boolean,
  fixedPrice: (value: Value) => number | undefined = () => undefined,
): RouteTable<Value> {
  const rows = Object.entries(routes).map(([key, value]) => parseRow(key, value));
  const used = new Set<Row<Value>>();
  const literal = new Map(rows.map((row) => [`${row.method} ${normal(row.path)}`, row]));
  const loose = byMethod(rows, (some) =>
    createMatcher(some, { caseSensitive: false, strict: false }),
  );
  const exact = byMethod(
    rows.filter((row) => firm(row.path) !== undefined),
    (some) => createMatcher(some, { caseSensitive: true, strict: true }, firm),
  );

  function find(req: Request): Row<Value> | undefined {
    const path = fullPath(req);
    if (path === undefined) return undefined;
    const possible = readLoosely(req.method, path);
    if (possible.length < 2) return possible[0];
    const certain = exact(req.method, path)[0];
    if (!certain || !possible.includes(certain)) return choose(possible);
    const upTo = possible.slice(0, possible.indexOf(certain) + 1);
    // Rows that only case and slashes tell apart are told apart by some router, or the second of
    // them were dead. Spelt as one of them is written, a request does not mean the other.
    const isTwin = (row: Row<Value>) => row !== certain && shape(row.path) === shape(certain.path);
    return choose(isFree(certain.value) ? upTo : upTo.filter((row) => !isTwin(row)));
  }

  function readLoosely(method: string, path: string): readonly Row<Value>[] {
    // A nested router sees its mount path as "/", with or without a slash in the request, and a
    // wildcard of Express 4 takes that. All other rows let a slash at the end pass.
    const slashed = path.endsWith("/") ? path : `${path}/`;
    const found = loose(method, slashed);
    const collapsed = collapse(slashed);
    if (collapsed === slashed) return found;
    const either = new Set([...found, ...loose(method, collapsed)]);
    return rows.filter((row) => either.has(row));
  }

  function choose(possible: readonly Row<Value>[]): Row<Value> | undefined {
    let dearest: Row<Value> | undefined;
    for (const row of possible) {
      if (isFree(row.value)) continue;
      if (!dearest || costsMore(row, dearest)) dearest = row;
    }
    return dearest ?? possible[0];
  }

  /** A computed price is not known here, so that the row that comes first stays. */
  function costsMore(row: Row<Value>, other: Row<Value>): boolean {
    const price = fixedPrice(row.value);
    const otherPrice = fixedPrice(other.value);
    return price !== undefined && otherPrice !== undefined && price > otherPrice;
  }

  return {
    match(req) {
      if (rows.length === 0) return undefined;
      const row = find(req);
      if (row) used.add(row);
      return row;
    },

    mismatch(req, matched) {
      const reachable = [req.route?.path as unknown]
        .flat()
        .filter((path) => typeof path === "string")
        .map((path) => normal(req.baseUrl + path));
      // A route may have several paths; which of them the request took, it does not say.
      if (matched && reachable.includes(normal(matched.path))) return undefined;
      for (const reached of reachable) {
        for (const method of [req.method, ...(req.method === "HEAD" ? ["GET"] : []), "ALL"]) {
          const row = literal.get(`${method} ${reached}`);
          if (row) return row;
        }
      }
      return undefined;
    },

    unused: () => rows.filter((row) => !used.has(row)),
  };
}

/**
 * The whole path below the application, in the words of the price table: `baseUrl + path`.
 *
 * Of the slashes around a mount path, `baseUrl + path` does not tell how many there were, and a route
 * outside that mount path cares; the original URL tells, unless it was rewritten in front of the
 * meter.
 */
function fullPath(req: Request): string | undefined {
  const original = pathOf(req.originalUrl, false);
  if (req.baseUrl === "" && req.url === req.originalUrl) return original;
  const path = req.baseUrl + (pathOf(req.url, req.baseUrl !== "") ?? "");
  return original !== undefined && bare(original) === bare(path) ? original : path;
}

/**
 * The path of a request target as Express reads it, or undefined where Express finds none and so
 * reaches no route.
 *
 * An absolute URL, or one with a fragment, goes through Node's old parser, which escapes characters
 * and may take a part of the host for the path. Routers nevertheless cut mount paths off the target
 * itself, by length, and Express 5 leaves a slash in front of a fragment: behind a mount path routes
 * would see another path than the one seen here, of the sender's choosing. No ordinary client sends
 * such a target.
 */
function pathOf(url: string, mounted: boolean): string | undefined {
  const path: string | null | undefined = Reflect.get(express.request, "path", { url });
  if (path === null || path === undefined) return undefined;
  const parts = /^(?:https?:\/\/[^/?#]*)?(\/[^?#]*)?(?:\?[^#]*)?$/i.exec(url);
  // A mount path that is the whole path of an absolute URL leaves nothing behind it.
  if (parts && (parts[1] ?? (mounted ? "/" : undefined)) === path) return path;
  throw Object.assign(new URIError("The path of the request target is ambiguous"), {
    status: 400,
    statusCode: 400,
  });
}

function collapse(path: string): string {
  return path.includes("//") ? path.replace(/\/{2,}/g, "/") : path;
}

/** Without the slashes that a mount path may swallow. */
function bare(path: string): string {
  return collapse(path).replace(/\/$/, "");
}

/** Letter case and a slash at the end make no other route out of a route. */
function normal(path: string): string {
  return path.toLowerCase().replace(/\/+$/, "");
}

/** The same for rows between which nothing but case and slashes decides. */
function shape(path: string): string {
  return normal(path).replace(/[:*]\w+/g, ":");
}

/**
 * The paths of a row that certainly are its route, wherever in them a mount path ends; undefined
 * where that cannot be said.
 *
 * A mount path takes what it can, where one flat pattern leaves the rest what the rest needs: so of
 * a part that may be missing or may hold slashes, with more path behind it, nothing is certain. And
 * an optional part at the end must be there: without it, a strict router below its mount path sees
 * a slash too many.
 */
function firm(path: string): string | undefined {
  const whole = path.replace(/\{([^{}]*)\}$/, "$1").replace(/\?$/, "");
  return /[{?]|\*.*\//.test(whole) ? undefined : whole;
}

function parseRow<Value>(key: string, value: Value): Row<Value> {
  const [, method, path] = /^([A-Z-]+) ([/{]\S*)$/.exec(key) ?? [];
  if (method === undefined || path === undefined) {
    throw new CreditMeterError(
      "route-invalid",
      `"${key}" is no row of the price table. Write the method in capitals, one space and the path from the root: "POST /v1/embeddings".`,
    );
  }
  if (method !== "ALL" && !METHODS.includes(method)) {
    throw new CreditMeterError(
      "route-invalid",
      `${method} in "${key}" is no HTTP method. Use a method such as GET or POST, or ALL.`,
    );
  }
  return { key, method, path, value };
}

/** All rows that match, in the order of the table. */
type Matcher<Value> = (method: string, path: string) => readonly Row<Value>[];

/**
 * A router answers OPTIONS itself where a route of another method has the path: of such a request only rows
 * are asked that name it, or all methods.
 */
function byMethod<Value>(
  rows: readonly Row<Value>[],
  make: (rows: readonly Row<Value>[]) => Matcher<Value>,
): Matcher<Value> {
  const usual = make(rows);
  const options = make(rows.filter(({ method }) => method === "ALL" || method === "OPTIONS"));
  return (method, path) => (method === "OPTIONS" ? options : usual)(method, path);
}

/** What Express's router reads of a request, and where the rows are noted. */
interface Probe<Value> {
  method: string;
  url: string;
  originalUrl: string;
  baseUrl: string;
  rows: Row<Value>[];
}

/** Express's router leaves the current tick after 100 layers that matched one after the other. */
const rowsPerRouter = 50;

function createMatcher<Value>(
  rows: readonly Row<Value>[],
  settings: { caseSensitive: boolean; strict: boolean },
  pathFor: (path: string) => string | undefined = (path) => path,
): Matcher<Value> {
  const routers: express.Router[] = [];
  for (const [index, row] of rows.entries()) {
    if (index % rowsPerRouter === 0) routers.push(express.Router(settings));
    const note = (req: Request, _res: Response, next: NextFunction) => {
      (req as unknown as Probe<Value>).rows.push(row);
      next();
    };
    try {
      const route = (routers.at(-1) as express.Router).route(pathFor(row.path) ?? row.path);
      const method = row.method.toLowerCase() as "all";
      route[method](note);
    } catch (error) {
      throw new CreditMeterError(
        "route-invalid",
        `Express cannot read the path of "${row.key}": ${(error as Error).message}. Write it as the route itself is written, for the version of Express that is installed.`,
        { cause: error },
      );
    }
  }
  return (method, path) => {
    // The question mark keeps the parser from taking white space off the end of the path.
    const url = `${path}?`;
    const probe: Probe<Value> = { method, url, originalUrl: url, baseUrl: "", rows: [] };
    let failure: unknown;
    const done: NextFunction = (error?: unknown) => {
      failure = error;
    };
    for (const router of routers) {
      router(probe as unknown as Request, {} as Response, done);
      if (failure) throw failure;
    }
    return probe.rows;
  };
}
