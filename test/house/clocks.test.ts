import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";

const root = path.resolve(import.meta.dirname, "../../src");

/** Comments may name them. */
const codeOf = (file: string) =>
  readFileSync(path.join(root, file), "utf8").replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, "");

const files = readdirSync(root, { recursive: true, encoding: "utf8" }).filter((file) =>
  file.endsWith(".ts"),
);

test.each(files)("%s takes timers and clocks from where fake ones do not reach", (file) => {
  const code = codeOf(file);
  for (const [timer] of code.matchAll(
    /(?<![.\w"])(?:set|clear)(?:Timeout|Interval|Immediate)\b/g,
  )) {
    const imported = new RegExp(
      `import \\{[^}]*\\b${timer}\\b[^}]*\\} from "node:timers(?:/promises)?"`,
    );
    expect(code, `import ${timer} from node:timers`).toMatch(imported);
  }
  const isClock = file === "clock.ts" || file.startsWith("ledger");
  if (!isClock) expect(code, "use clock.ts").not.toMatch(/\bperformance\.now\b|\bDate\.now\b/);
});
