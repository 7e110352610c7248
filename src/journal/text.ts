/**
 * No database keeps these in a text: SQLite ends it at a NUL, PostgreSQL refuses one, and libsql 0.5
 * ends the whole process where it meets a lone surrogate.
 */
const unkeepable = /[\0\p{Surrogate}]/gu;

/** A text as every journal keeps it. */
export function text<Value extends string | null>(value: Value): Value;
export function text(value: string | null) {
  return value?.replace(unkeepable, "\uFFFD") ?? null;
}
