/**
 * What is wrong with options, in this package's words: the checker's own ("Invalid input: expected …") never
 * reach a person, and no value that was given is repeated, since it may be a secret.
 */

import type { z } from "zod";

type Raw = z.core.$ZodRawIssue;
type Schema = z.core.$ZodType;

const nouns: Readonly<Record<string, string>> = {
  string: "text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  object: "an object",
  record: "an object",
  array: "a list",
  function: "a function",
};

/**
 * Checks a value.
 *
 * @returns what it reads as, or what is wrong with it: one phrase for each mistake, such as `guard.scope
 * must be "process" or "fleet"`
 */
export function checked<Checked extends z.ZodType>(
  schema: Checked,
  value: unknown,
): { readonly data: z.output<Checked> } | { readonly wrong: string } {
  const result = schema.safeParse(value, { error: (issue) => phrase(issue, schema) });
  if (result.success) return { data: result.data };
  const phrases = result.error.issues.map(({ code, path, message }) => {
    if (code === "unrecognized_keys") return message;
    return path.length === 0 ? `they ${message}` : `${path.map(String).join(".")} ${message}`;
  });
  return { wrong: phrases.join("; ") };
}

/** For what has no words of its own in the schema. */
function phrase(issue: Raw, root: Schema): string {
  switch (issue.code) {
    case "unrecognized_keys":
      return issue.keys.map((key) => unknownKey(issue, String(key), root)).join("; ");
    case "invalid_type":
      return `must be ${nouns[issue.expected] ?? "of another kind"}`;
    case "invalid_value":
      return `must be ${listed(issue.values.map((value) => JSON.stringify(value)))}`;
    case "too_small":
      if (issue.origin === "string" || issue.origin === "array") return "must not be empty";
      return `must be at least ${issue.minimum}`;
    case "too_big":
      return `must be at most ${issue.maximum}`;
    default:
      return "cannot be used";
  }
}

function unknownKey({ inst, path = [] }: Raw, key: string, root: Schema): string {
  const within = path.map(String);
  const nameOf = (one: string) => [...within, one].join(".");
  const known = Object.keys(shapeOf(inst as Schema | undefined) ?? {});
  const right = nearest(key, known);
  const said = `there is no option ${nameOf(key)}`;
  if (right !== undefined) return `${said} (did you mean "${nameOf(right)}"?)`;
  for (const [outer, child] of Object.entries(shapeOf(root) ?? {})) {
    const inner = nearest(key, Object.keys(shapeOf(child) ?? {}));
    if (inner !== undefined) return `${said} (did you mean "${outer}.${inner}"?)`;
  }
  return `${said}; there are ${known.map(nameOf).join(", ")}`;
}

/** The members of an object's schema, also of one that is optional or has a default. */
function shapeOf(schema: Schema | undefined): Readonly<Record<string, Schema>> | undefined {
  const { shape, innerType } = (schema?._zod.def ?? {}) as {
    shape?: Readonly<Record<string, Schema>>;
    innerType?: Schema;
  };
  return shape ?? (innerType && shapeOf(innerType));
}

/** What somebody meant who wrote this: at most a third of its letters are wrong. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const lower = word.toLowerCase();
  const [best] = known
    .map((name) => ({ name, away: distance(lower, name.toLowerCase()) }))
    .filter(({ name, away }) => away <= Math.floor(Math.max(name.length, word.length) / 3))
    .sort((one, other) => one.away - other.away);
  return best?.name;
}

/** Letters to put in, take out, replace, or swap with their neighbour. */
function distance(one: string, other: string): number {
  const rows: number[][] = [];
  const at = (row: number, column: number) => rows[row]?.[column] ?? Number.POSITIVE_INFINITY;
  for (let row = 0; row <= one.length; row += 1) {
    rows.push([]);
    for (let column = 0; column <= other.length; column += 1) {
      const isSame = one[row - 1] === other[column - 1];
      const isSwapped = one[row - 1] === other[column - 2] && one[row - 2] === other[column - 1];
      rows[row]?.push(
        row === 0 || column === 0
          ? row + column
          : Math.min(
              at(row - 1, column - 1) + (isSame ? 0 : 1),
              at(row - 1, column) + 1,
              at(row, column - 1) + 1,
              isSwapped ? at(row - 2, column - 2) + 1 : Number.POSITIVE_INFINITY,
            ),
      );
    }
  }
  return at(one.length, other.length);
}

/** `a, b or c` */
function listed(words: readonly string[]): string {
  const last = words.at(-1) ?? "";
  return words.length < 2 ? last : `${words.slice(0, -1).join(", ")} or ${last}`;
}
