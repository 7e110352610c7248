/** How much a model was used, as it is noted for the record. */

import type { ServerResponse } from "node:http";
import type { Usage } from "../redemption.ts";

const noted = new WeakMap<object, Usage>();

/** What is to be on the record of this response's redemption. */
export function noteUsage(res: ServerResponse, usage: Usage): void {
  noted.set(res, usage);
}

export function notedUsage(res: ServerResponse): Usage | undefined {
  return noted.get(res);
}

/** A whole number of tokens; undefined for anything else. */
export function countOf(value: unknown): number | undefined {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}
