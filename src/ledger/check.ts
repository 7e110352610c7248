import type { z } from "zod";

/** The value as the schema reads it, or an error that names each mistake. */
export function check<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  what: string,
): z.output<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new TypeError(`The ledger cannot use these ${what}: ${mistakes(result.error)}.`);
}

/** What is wrong, one phrase a field: `amount: expected number, received string`. */
export function mistakes(error: z.ZodError): string {
  return error.issues
    .map(({ path, message }) => `${path.length > 0 ? `${path.join(".")}: ` : ""}${message}`)
    .join("; ");
}
