import type { z } from "zod";
import { checked } from "../mistakes.ts";

/** The value as the schema reads it, or an error that names each mistake. */
export function check<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  what: string,
): z.output<Schema> {
  const result = checked(schema, value);
  if ("data" in result) return result.data;
  throw new TypeError(`The ledger cannot use these ${what}: ${result.wrong}.`);
}

/** What is wrong with a request's body, one phrase a field, as servers say it. */
export function mistakes(error: z.ZodError): string {
  return error.issues
    .map(({ path, message }) => `${path.length > 0 ? `${path.join(".")}: ` : ""}${message}`)
    .join("; ");
}
