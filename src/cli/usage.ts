import { type ParseArgsConfig, parseArgs } from "node:util";
import { nearest } from "../mistakes.ts";

/** A mistake in what was typed: exit code 2, and one sentence that says what to do. */
export class UsageError extends Error {}

/** The options of a command; throws a {@link UsageError} for what it does not know. */
export function readArgs<Options extends NonNullable<ParseArgsConfig["options"]>>(
  command: string,
  args: string[],
  options: Options,
): ReturnType<typeof parseArgs<{ options: Options; strict: true }>>["values"] {
  try {
    return parseArgs({ args, options, allowPositionals: false, strict: true }).values;
  } catch (error) {
    const [mistake = ""] = (error as Error).message.split(/\.\s/);
    const [, unknown = ""] = /^Unknown option '--([^']+)'/.exec(mistake) ?? [];
    const right = unknown && nearest(unknown, Object.keys(options));
    const hint = right ? ` (did you mean --${right}?)` : "";
    throw new UsageError(`${mistake}${hint}: see express-credit-meter ${command} --help.`, {
      cause: error,
    });
  }
}
