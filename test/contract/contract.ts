import { Ajv2020, type ErrorObject } from "ajv/dist/2020.js";
import formats from "ajv-formats";
import document from "./nevermined.openapi.json" with { type: "json" };

export type Operation = "redeem" | "mint" | "balance" | "permissions" | "verify" | "settle";

/** A request as it went over the wire. */
export interface WireRequest {
  headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** What was sent, as text or already read; nothing for a GET. */
  body?: unknown;
}

interface Judge {
  secured: boolean;
  parameters: { name: string; judge: (value: unknown) => string | undefined }[];
  body?: (value: unknown) => string | undefined;
  answers: Map<string, (value: unknown) => string | undefined>;
}

/** A place in the contract; its leaves are read with String(). */
interface Json {
  [key: string]: Json;
}

/** Where a body has its schema. */
const content = ["content", "application/json", "schema"];
const ajv = new Ajv2020({ strict: true, allowUnionTypes: true, allErrors: true });
formats.default(ajv);
// The contract is no schema itself: schemas are reached in it by pointer.
for (const word of Object.keys(document)) ajv.addVocabulary([word]);
ajv.addSchema(document, "contract");

const judges = new Map<string, Judge>();
for (const [path, methods] of Object.entries(document.paths as unknown as Json)) {
  for (const [method, operation] of Object.entries(methods)) {
    judges.set(String(operation.operationId), read(["paths", path, method], operation));
  }
}

/** Throws an error that says what of a request breaks the contract. */
export function judgeRequest(operation: Operation, request: WireRequest): void {
  const judge = judgeOf(operation);
  const headers = new Map(
    Object.entries(request.headers).map(([name, value]) => [name.toLowerCase(), value]),
  );
  const wrong: string[] = [];
  const authorization = headers.get("authorization");
  if (judge.secured && !/^Bearer \S+$/.test(String(authorization ?? ""))) {
    // Never the value: it is a key.
    wrong.push("header authorization must be Bearer and a key");
  }
  for (const { name, judge: judgeHeader } of judge.parameters) {
    const value = headers.get(name);
    const mistake = value === undefined ? undefined : judgeHeader(value);
    if (mistake) wrong.push(`header ${name} ${mistake}`);
  }
  if (judge.body) {
    if (!/^application\/json\b/.test(String(headers.get("content-type") ?? ""))) {
      wrong.push("header content-type must be application/json");
    }
    const mistake = judge.body(parsed(request.body));
    if (mistake) wrong.push(`body ${mistake}`);
  } else if (request.body !== undefined && request.body !== "") {
    wrong.push("body must not be there");
  }
  complain(`The request ${operation}`, wrong);
}

/** Throws an error that says what of an answer breaks the contract. */
export function judgeAnswer(operation: Operation, status: number, body: unknown): void {
  const { answers } = judgeOf(operation);
  const mistake = (answers.get(String(status)) ?? answers.get("default"))?.(parsed(body));
  complain(`The answer ${status} to ${operation}`, mistake ? [`body ${mistake}`] : []);
}

function judgeOf(operation: Operation): Judge {
  const judge = judges.get(operation);
  if (judge) return judge;
  throw new Error(`The contract has no operation ${operation}: ${[...judges.keys()].join(", ")}.`);
}

function read(at: string[], operation: Json): Judge {
  const answers = Object.keys(operation.responses ?? {}).map(
    (status) => [status, schemaAt([...at, "responses", status, ...content])] as const,
  );
  const parameters = Object.values(operation.parameters ?? {}).flatMap((_, index) => {
    const place = follow([...at, "parameters", String(index)]);
    const { name, in: where } = lookup(place);
    return String(where) === "header"
      ? [{ name: String(name), judge: schemaAt([...place, "schema"]) }]
      : [];
  });
  return {
    secured: JSON.stringify(operation.security ?? document.security) !== "[]",
    parameters,
    answers: new Map(answers),
    ...(operation.requestBody ? { body: schemaAt([...at, "requestBody", ...content]) } : {}),
  };
}

/** A judge from the schema at a place: `undefined`, or what is wrong. */
function schemaAt(place: string[]): (value: unknown) => string | undefined {
  const pointer = follow(place)
    .map((step) => encodeURIComponent(step.replaceAll("~", "~0").replaceAll("/", "~1")))
    .join("/");
  const validate = ajv.compile({ $ref: `contract#/${pointer}` });
  return (value) => (validate(value) ? undefined : readable(validate.errors ?? []));
}

/** The place that a place stands for, with every `$ref` on the way taken. */
function follow(place: string[]): string[] {
  let at: string[] = [];
  for (const step of place) {
    at = [...at, step];
    const ref = lookup(at).$ref;
    if (ref !== undefined) at = String(ref).replace("#/", "").split("/");
  }
  return at;
}

function lookup(place: string[]): Json {
  let at = document as unknown as Json;
  for (const step of place) {
    const next = at[step];
    if (next === undefined) throw new Error(`The contract has nothing at ${place.join(" / ")}.`);
    at = next;
  }
  return at;
}

function parsed(body: unknown): unknown {
  if (typeof body !== "string") return body;
  try {
    return JSON.parse(body);
  } catch {
    return body;
  }
}

function readable(errors: ErrorObject[]): string {
  return errors
    .map(({ instancePath, message, params }) => {
      const extra = "additionalProperty" in params ? ` (${params.additionalProperty})` : "";
      return `${instancePath} ${message}${extra}`.trim();
    })
    .join("; ");
}

function complain(what: string, wrong: string[]): void {
  if (wrong.length > 0) throw new Error(`${what} breaks the contract: ${wrong.join("; ")}.`);
}
