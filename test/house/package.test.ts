import { execFileSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const root = path.resolve(import.meta.dirname, "../..");
const modules = path.join(root, "node_modules");
const cache = path.join(modules, ".cache");
mkdirSync(cache, { recursive: true });
const scratch = mkdtempSync(path.join(cache, "package-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function run(command: string, args: string[], cwd: string): string {
  try {
    return execFileSync(command, args, { cwd, encoding: "utf8", stdio: "pipe" });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${command} ${args.join(" ")} failed:\n${stdout}\n${stderr}`);
  }
}

const tool = (...parts: string[]) => path.join(modules, ...parts);
let tarball = "";

/** A project with the packed package and one version of Express; what else it needs lies above it. */
function project(name: string, express: string, types: string): string {
  const folder = path.join(scratch, name);
  mkdirSync(path.join(folder, "node_modules/@types"), { recursive: true });
  cpSync(path.join(scratch, "package"), path.join(folder, "node_modules/express-credit-meter"), {
    recursive: true,
  });
  // Without a name of its own the folder would be part of this repository, whose name wins.
  writeFileSync(path.join(folder, "package.json"), JSON.stringify({ name, private: true }));
  symlinkSync(tool(express), path.join(folder, "node_modules/express"));
  symlinkSync(tool(types), path.join(folder, "node_modules/@types/express"));
  return folder;
}

const use = `
  const meter = creditMeter({
    apiKey: "nvm:key",
    environment: { name: "none", baseUrl: "http://127.0.0.1:1/api" },
    plans: ["1"],
    routes: { "POST /paid": 2 },
  });
  const app = express();
  app.use(meter);
  app.post("/paid", meter.charge(3), (_req, res) => {
    res.json({ id: res.locals.redemption?.redemptionId });
  });
  const server = app.listen(0, "127.0.0.1", async () => {
    const { port } = server.address();
    const answer = await fetch("http://127.0.0.1:" + port + "/paid", { method: "POST" });
    const ledger = await createLedger();
    console.log(answer.status, (await answer.json()).code, ledger.baseUrl.endsWith("/api/v1"));
    await ledger.close();
    server.close();
    await meter.close();
  });
`;

beforeAll(() => {
  expect(existsSync(path.join(root, "dist/index.js")), "run `npm run build` first").toBe(true);
  const [packed] = JSON.parse(
    run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", scratch], root),
  );
  tarball = path.join(scratch, packed.filename);
  run("tar", ["xzf", tarball], scratch);
}, 60_000);

test("the package holds what it needs and nothing else", () => {
  const files = run("tar", ["tzf", tarball], scratch).trim().split("\n").sort();
  const kinds = new Set(
    files.map((file) => file.replace(/^package\/(dist|docs)\/.*(\.d\.ts|\.js|\.md)$/, "$1$2")),
  );
  expect([...kinds].sort()).toEqual([
    "dist.d.ts",
    "dist.js",
    "docs.md",
    "package/CHANGELOG.md",
    "package/LICENSE",
    "package/README.md",
    "package/package.json",
  ]);
});

test("its package.json is right for every resolver", () => {
  run(process.execPath, [tool("publint/src/cli.js"), "--strict", tarball], root);
  run(
    process.execPath,
    [tool("@arethetypeswrong/cli/dist/index.js"), tarball, "--ignore-rules", "cjs-resolves-to-esm"],
    root,
  );
}, 60_000);

test("its command runs", () => {
  const version = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")).version;
  const folder = project("command", "express", "@types/express");
  const main = path.join(folder, "node_modules/express-credit-meter/dist/cli/main.js");
  expect(run(process.execPath, [main, "--version"], folder)).toContain(version);
});

describe.each([
  ["express-5", "express", "@types/express"],
  ["express-4", "express4", "types-express4"],
])("a project on %s", (name, express, types) => {
  let folder = "";
  beforeAll(() => {
    folder = project(name, express, types);
  });

  const answers = "402 payment-required true\n";
  const quiet = (output: string) => output.replace(/^\{.*\}\n/gm, "");

  test("imports it", () => {
    writeFileSync(
      path.join(folder, "main.mjs"),
      `import express from "express";
       import { creditMeter } from "express-credit-meter";
       import { createLedger } from "express-credit-meter/ledger";
       ${use}`,
    );
    expect(quiet(run(process.execPath, ["main.mjs"], folder))).toBe(answers);
  });

  test("requires it", () => {
    writeFileSync(
      path.join(folder, "main.cjs"),
      `const express = require("express");
       const { creditMeter } = require("express-credit-meter");
       const { createLedger } = require("express-credit-meter/ledger");
       ${use}`,
    );
    expect(quiet(run(process.execPath, ["main.cjs"], folder))).toBe(answers);
  });

  test.each([
    ["nodenext", "nodenext"],
    ["esnext", "bundler"],
  ])("compiles against its types with module %s", (module, moduleResolution) => {
    writeFileSync(
      path.join(folder, "main.mts"),
      `import express from "express";
       import { type CreditMeterOptions, creditMeter, type Redemption } from "express-credit-meter";
       import { createLedger } from "express-credit-meter/ledger";
       const options: CreditMeterOptions = {
         plans: ["1"],
         routes: { "POST /": { hold: 1, price: (req, res) => req.url.length + Number(res.statusCode) } },
       };
       const meter = creditMeter(options);
       const app = express();
       app.use(meter);
       app.use("/v1", express.Router().use(meter));
       app.post("/paid", meter.charge(3), (_req, res) => {
         const redemption: Redemption | undefined = res.locals.redemption;
         res.json({ id: redemption?.redemptionId });
       });
       meter.on("redemption", ({ status }) => status satisfies string);
       // @ts-expect-error: a price is no string
       meter.charge("3");
       // @ts-expect-error: plans are required
       creditMeter({ routes: {} });
       export const ledger = createLedger({ port: 0 });`,
    );
    writeFileSync(
      path.join(folder, "tsconfig.json"),
      JSON.stringify({
        compilerOptions: {
          module,
          moduleResolution,
          target: "es2022",
          strict: true,
          exactOptionalPropertyTypes: true,
          skipLibCheck: false,
          noEmit: true,
          types: ["node"],
        },
        files: ["main.mts"],
      }),
    );
    run(process.execPath, [tool("typescript/bin/tsc"), "-p", folder], folder);
  });
});
