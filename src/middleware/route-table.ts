/**
 * Finds the row of the price table that a request belongs to, with Express's own router, so that
 * parameters, wildcards, encodings and methods mean here what they mean in the application.
 *
 * One flat table cannot repeat what nested routers do: each has its own case and strict setting
 * (`express.Router()` does not inherit the application's), and Express 4 lets a mount path swallow a
 * slash, so that `//` reaches a handler below it. A request is therefore read twice: as the
 * application's settings say, and as loosely as any nested router might. Where the first reading
 * finds nothing, or something free, and the second finds a price, the request is metered: a buyer
 * must not get round a price by spelling a path differently.
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
   * The row for a request. Throws what Express would answer 400 with: a parameter whose
   * percent-encoding is broken.
   */
  match(req: Request): Row<Value> | undefined;
  /**
   * The row whose path is literally the route that answered, where that is not the row that was
   * matched: a path rewritten behind the meter, or two rows that overlap in another order than the
   * routes do. To be asked when the response has ended.
   */
  mismatch(req: Request, matched: Row<Value> | undefined): Row<Value> | undefined;
  /** Rows that no request has matched yet. */
  unused(): readonly Row<Value>[];
}

/**
 * @param routes rows in the order in which they are tried, as in Express
 * @param isFree whether a row's requests are let through without a charge
 */
export function createRouteTable<Value>(
  routes: Readonly<Record<string, Value>>,
  isFree: (value: Value) => boolean,
): RouteTable<Value> {
  const rows = Object.entries(routes).map(([key, value]) => parseRow(key, value));
  const used = new Set<Row<Value>>();
  const loose = createMatcher(rows, { caseSensitive: false, strict: false });
  const matchers = new Map([["false false", loose]]);
  const literal = new Map(rows.map((row) => [normal(`${row.method} ${row.path}`), row]));

  function matcherFor(req: Request): Matcher<Value> {
    const caseSensitive = req.app.enabled("case sensitive routing");
    const strict = req.app.enabled("strict routing");
    const key = `${caseSensitive} ${strict}`;
    let matcher = matchers.get(key);
    if (!matcher) {
      matcher = createMatcher(rows, { caseSensitive, strict });
      matchers.set(key, matcher);
    }
    return matcher;
  }

  return {
    match(req) {
      // OPTIONS is answered by routers and CORS middleware before a price is known.
      if (rows.length === 0 || req.method === "OPTIONS") return undefined;
      const path = fullPath(req);
      const matcher = matcherFor(req);
      let row = matcher(req.method, path);
      if (!row || isFree(row.value)) {
        const collapsed = path.replace(/\/{2,}/g, "/");
        const other =
          (matcher === loose ? undefined : priced(loose(req.method, path))) ??
          (collapsed === path ? undefined : loose(req.method, collapsed));
        row = priced(other) ?? row ?? other;
      }
      if (row) used.add(row);
      return row;
    },

    mismatch(req, matched) {
      const paths: unknown = req.route?.path;
      for (const path of Array.isArray(paths) ? paths : [paths]) {
        if (typeof path !== "string") continue;
        for (const method of [req.method, ...(req.method === "HEAD" ? ["GET"] : []), "ALL"]) {
          const row = literal.get(normal(`${method} ${req.baseUrl}${path}`));
          if (row) return row === matched ? undefined : row;
        }
      }
      return undefined;
    },

    unused: () => rows.filter((row) => !used.has(row)),
  };

  function priced(row: Row<Value> | undefined): Row<Value> | undefined {
    return row && !isFree(row.value) ? row : undefined;
  }
}

/**
 * The whole path below the application, in the words of the price table: `baseUrl + path`.
 *
 * Below a mount path Express shows the mount itself as `/`, with and without a slash at its end; the
 * original URL tells which, and strict routing cares.
 */
function fullPath(req: Request): string {
  if (req.baseUrl === "") return req.path;
  const original = req.originalUrl.split("?", 1)[0] ?? "";
  return req.path === "/" && !original.endsWith("/") ? req.baseUrl : req.baseUrl + req.path;
}

/** Letter case and a slash at the end make no other route out of a route. */
function normal(row: string): string {
  return row.toLowerCase().replace(/\/+$/, "");
}

function parseRow<Value>(key: string, value: Value): Row<Value> {
  const [, method, path] = /^([A-Z-]+) (\/\S*)$/.exec(key) ?? [];
  if (method === undefined || path === undefined) {
    throw new CreditMeterError(
      "route-invalid",
      `"${key}" is no row of the price table. Write the method in capitals, one space and the path from the root: "POST /v1/embeddings".`,
    );
  }
  if (method === "OPTIONS" || (method !== "ALL" && !METHODS.includes(method))) {
    const why = method === "OPTIONS" ? "is never metered" : "is no HTTP method";
    throw new CreditMeterError(
      "route-invalid",
      `${method} in "${key}" ${why}. Use a method such as GET or POST, or ALL.`,
    );
  }
  return { key, method, path, value };
}

type Matcher<Value> = (method: string, path: string) => Row<Value> | undefined;

/** What Express's router reads of a request, and where the row is noted. */
interface Probe<Value> {
  method: string;
  url: string;
  originalUrl: string;
  baseUrl: string;
  row: Row<Value> | undefined;
}

function createMatcher<Value>(
  rows: readonly Row<Value>[],
  settings: { caseSensitive: boolean; strict: boolean },
): Matcher<Value> {
  const router = express.Router(settings);
  for (const row of rows) {
    const note = (req: Request) => {
      (req as unknown as Probe<Value>).row = row;
    };
    try {
      const route = router.route(row.path);
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
    const probe: Probe<Value> = {
      method,
      url: path,
      originalUrl: path,
      baseUrl: "",
      row: undefined,
    };
    let failure: unknown;
    const done: NextFunction = (error?: unknown) => {
      failure = error;
    };
    router(probe as unknown as Request, {} as Response, done);
    if (failure) throw failure;
    return probe.row;
  };
}
