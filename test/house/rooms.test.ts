import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";

const root = path.resolve(import.meta.dirname, "../../src");

/** Which rooms, and which of the files that stand beside them, each room may import from. */
const mayImport: Record<string, readonly string[]> = {
  errors: [],
  clock: [],
  redemption: ["errors"],
  account: [],
  "drop-oldest": [],
  mistakes: [],
  packages: [],
  guard: ["account", "redemption", "errors", "drop-oldest"],
  client: ["redemption", "errors"],
  journal: ["account", "redemption", "errors", "packages"],
  redeemer: ["journal", "account", "redemption", "errors", "drop-oldest"],
  usage: ["redemption", "errors", "mistakes"],
  middleware: ["usage", "guard", "redeemer", "redemption", "errors"],
  ledger: ["mistakes", "packages"],
  cli: ["ledger", "mistakes"],
  "express-locals": ["redemption"],
  options: ["middleware", "guard", "redemption", "errors", "mistakes"],
  report: ["options", "redeemer", "redemption", "errors"],
  operator: ["redeemer", "journal", "redemption", "errors"],
  engine: ["redeemer", "journal", "client"],
  worker: ["engine", "redeemer"],
  "open-door": ["errors", "engine", "middleware", "options", "report", "redeemer", "journal"],
  "credit-meter": [
    "open-door",
    "operator",
    "options",
    "report",
    "middleware",
    "guard",
    "redeemer",
    "redemption",
    "errors",
  ],
  index: [
    "credit-meter",
    "usage",
    "express-locals",
    "operator",
    "options",
    "middleware",
    "guard",
    "redemption",
    "errors",
  ],
};

/** What every room may import from. */
const everybodys = ["clock"];

/** Packages that only these rooms know. */
const packages: Record<string, readonly string[]> = {
  express: ["middleware", "guard", "usage", "options", "credit-meter", "ledger"],
  undici: ["client"],
  libsql: ["ledger", "journal", "packages"],
  pg: ["journal"],
  pino: ["credit-meter"],
  zod: ["options", "mistakes", "usage", "client", "ledger"],
};

const files = readdirSync(root, { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts"))
  .map((file) => file.split(path.sep).join("/"));

/** The room of a file, or its own name where it stands beside the rooms. */
const roomOf = (file: string) => file.split("/")[0]?.replace(/\.ts$/, "") ?? "";

function importsOf(file: string): string[] {
  const source = readFileSync(path.join(root, file), "utf8").replace(/\/\*[\s\S]*?\*\//g, "");
  return [...source.matchAll(/(?:from|import)\s*\(?\s*"([^"\s]+)"/g)].map(
    (match) => match[1] ?? "",
  );
}

const imports = files.flatMap((file) =>
  importsOf(file).map((name) => ({
    file,
    name,
    target: name.startsWith(".") ? path.posix.join(path.posix.dirname(file), name) : undefined,
  })),
);

test("there is something to look at", () => {
  expect(files.length).toBeGreaterThan(20);
  expect(imports.length).toBeGreaterThan(50);
});

test("every import of ours names a file that exists", () => {
  const missing = imports.filter(({ target }) => target !== undefined && !files.includes(target));
  expect(missing).toEqual([]);
});

test("rooms import downwards only", () => {
  const wrong = imports.filter(({ file, target }) => {
    if (target === undefined || roomOf(file) === roomOf(target)) return false;
    if (everybodys.includes(roomOf(target))) return false;
    return !mayImport[roomOf(file)]?.includes(roomOf(target));
  });
  expect(wrong).toEqual([]);
});

test("each package is known to the rooms that use it alone", () => {
  const wrong = imports.filter(({ file, name }) => {
    if (name.startsWith(".") || name.startsWith("node:")) return false;
    return !packages[name]?.includes(roomOf(file));
  });
  expect(wrong).toEqual([]);
});

test("there are no cycles", () => {
  const targets = new Map<string, string[]>();
  for (const { file, target } of imports) {
    if (target !== undefined) targets.set(file, [...(targets.get(file) ?? []), target]);
  }
  const done = new Set<string>();
  const cycles: string[][] = [];
  const visit = (file: string, trail: string[]) => {
    const at = trail.indexOf(file);
    if (at !== -1) {
      cycles.push([...trail.slice(at), file]);
      return;
    }
    if (done.has(file)) return;
    for (const target of targets.get(file) ?? []) visit(target, [...trail, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
  expect(cycles).toEqual([]);
});
