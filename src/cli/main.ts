#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { UsageError } from "./usage.ts";

/** Each takes what follows its name, and resolves once it runs or is done. */
const commands = new Map([
  ["ledger", async (args: string[]) => (await import("./ledger.ts")).ledger(args)],
]);

const help = `Usage: express-credit-meter <command> [options]

Commands:
  ledger      run an embedded, Nevermined-compatible ledger to try things out

Options:
  --help      say this, or after a command what it takes
  --version   say the version
`;

async function run([name, ...args]: string[]): Promise<void> {
  if (name === undefined || name === "--help" || name === "-h") {
    process.stdout.write(help);
  } else if (name === "--version" || name === "-v") {
    const file = new URL("../../package.json", import.meta.url);
    process.stdout.write(`${JSON.parse(readFileSync(file, "utf8")).version}\n`);
  } else {
    const command = commands.get(name);
    if (!command) {
      const kind = name.startsWith("-") ? "option" : "command";
      const message = `There is no ${kind} "${name}": see express-credit-meter --help.`;
      throw new UsageError(message);
    }
    await command(args);
  }
}

try {
  await run(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
