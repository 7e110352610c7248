/** Reads what a server answers, and says what is wrong with it. */

import type { HostileRequest } from "./requests.ts";

export interface Answer {
  readonly status: number;
  /** Status line and headers. */
  readonly head: string;
  readonly body: string;
}

/** Takes one whole answer from the beginning of what has arrived; undefined where there is none yet. */
export function takeAnswer(
  text: string,
  method: string,
): { answer: Answer; rest: string } | undefined {
  const end = text.indexOf("\r\n\r\n");
  if (end === -1) return undefined;
  const head = text.slice(0, end);
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(head)?.[1]);
  if (Number.isNaN(status)) throw new Error(`This is no answer: ${JSON.stringify(head)}`);
  if (status < 200) return takeAnswer(text.slice(end + 4), method);
  const length = Number(header(head, "content-length") ?? 0);
  const from = end + 4;
  const to = method === "HEAD" || status === 204 ? from : from + length;
  if (text.length < to) return undefined;
  return { answer: { status, head, body: text.slice(from, to) }, rest: text.slice(to) };
}

/** Whether a charge belongs to it. */
export function isPaid({ status, head }: Answer): boolean {
  return status === 200 && header(head, "redemption-id") !== undefined;
}

/** Why an answer is not what the request deserved; undefined where it is. */
export function faultOf(request: HostileRequest, answer: Answer | undefined): string | undefined {
  if (!answer) return request.mayLackAnswer ? undefined : "no answer";
  const { status, head, body } = answer;
  const isRefused = status >= 400 && status < 500;
  if (status !== 200 && !isRefused) return `status ${status}`;
  if (request.must === "pay" && !isPaid(answer)) return `status ${status}, and it pays`;
  if (request.must === "be-refused" && !isRefused) return `status ${status}, and it does not pay`;
  if (header(head, "content-type") !== "application/problem+json") return undefined;
  if (request.method === "HEAD") return undefined;
  const problem = JSON.parse(body) as Record<string, unknown>;
  if (problem.status !== status) return "a problem document with another status";
  if (!problem.code || !problem.detail) return "a problem document that does not say what to do";
  return undefined;
}

function header(head: string, name: string): string | undefined {
  return new RegExp(`\r\n${name}: *([^\r]*)`, "i").exec(head)?.[1];
}
