import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import * as errors from "../../src/errors.ts";

const root = path.resolve(import.meta.dirname, "../..");
const read = (file: string) => readFileSync(path.join(root, file), "utf8");

const sourceFiles = readdirSync(path.join(root, "src"), { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts"))
  .map((file) => `src/${file.split(path.sep).join("/")}`);

test("every error code has a heading in docs/errors.md, and every heading a code", () => {
  const codes = Object.values(errors)
    .filter((value) => Array.isArray(value))
    .flat();
  const headings = [...read("docs/errors.md").matchAll(/^### (.+)$/gm)].map((match) => match[1]);
  expect(codes.length).toBeGreaterThan(20);
  expect(headings).toEqual(codes);
});

describe("every snippet compiles", () => {
  const folder = path.join(root, "node_modules/.cache/snippets");
  mkdirSync(folder, { recursive: true });
  const scratch = mkdtempSync(path.join(folder, "run-"));
  afterAll(() => rmSync(scratch, { recursive: true, force: true }));

  function snippets(): { from: string; code: string }[] {
    const fenced = (text: string) =>
      [...text.matchAll(/```(?:ts|js)\n([\s\S]*?)```/g)].map((match) => match[1] ?? "");
    const docs = ["README.md", "docs/errors.md", "CONTRIBUTING.md"].flatMap((from) =>
      fenced(read(from)).map((code) => ({ from, code })),
    );
    const comments = sourceFiles.flatMap((from) =>
      (read(from).match(/\/\*\*[\s\S]*?\*\//g) ?? [])
        .map((comment) => comment.replace(/^\s*\* ?/gm, "").replace(/^\/\*\*|\*\/$/g, ""))
        .flatMap(fenced)
        .map((code) => ({ from, code })),
    );
    return [...docs, ...comments];
  }

  test("in the README, the docs and the doc comments", () => {
    const found = snippets();
    expect(found.length).toBeGreaterThan(8);
    for (const [index, { from, code }] of found.entries()) {
      const name = `${index}-${from.replace(/\W+/g, "-")}.ts`;
      writeFileSync(path.join(scratch, name), `${code}\nexport {};\n`);
    }
    writeFileSync(
      path.join(scratch, "tsconfig.json"),
      JSON.stringify({
        extends: path.join(root, "tsconfig.json"),
        compilerOptions: { noUnusedLocals: false, noUnusedParameters: false },
        include: [scratch],
      }),
    );
    const tsc = path.join(root, "node_modules/typescript/bin/tsc");
    try {
      execFileSync(process.execPath, [tsc, "-p", scratch], { encoding: "utf8", stdio: "pipe" });
    } catch (error) {
      expect((error as { stdout: string }).stdout).toBe("");
      throw error;
    }
  });
});
