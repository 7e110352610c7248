/** The command line of a bench: what it takes, `--help`, and one sentence for what it does not know. */

import { type ParseArgsConfig, parseArgs } from "node:util";
import { isInterrupted } from "../test/support/folder.ts";

/**
 * Runs it to its end. What fails ends the process with 1, whatever is still open; after Ctrl-C, which ends the
 * children, too, what they were asked for fails, and nobody wants to read that.
 */
export function runMain(main: () => Promise<void>): void {
  main().catch((error: unknown) => {
    if (isInterrupted()) return;
    console.error(error);
    process.exit(1);
  });
}

type Options = NonNullable<ParseArgsConfig["options"]>;

/**
 * Ends the process with 0 after `--help`, and with 2 after an option that is not known.
 *
 * @param usage begins with "Usage: npm run …"
 */
export function readCommand<Taken extends Options>(
  usage: string,
  options: Taken,
): ReturnType<typeof parseArgs<{ options: Taken; strict: true }>>["values"] {
  if (process.argv.slice(2).includes("--help")) {
    console.log(usage.trimEnd());
    process.exit(0);
  }
  try {
    return parseArgs({ options, strict: true, allowPositionals: false }).values;
  } catch (error) {
    const [mistake] = (error as Error).message.split(/\.\s/);
    console.error(`${mistake}.\n\n${usage.trimEnd()}`);
    process.exit(2);
  }
}
