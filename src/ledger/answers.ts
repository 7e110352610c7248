/** An HTTP answer before it is sent. */
export interface Answer {
  status: number;
  /** The bytes to send, as text. */
  body: string;
  /** Default: `application/json`. */
  contentType?: string;
  /** Seconds, sent as `Retry-After`. */
  retryAfter?: number;
}

export function json(status: number, body: unknown): Answer {
  return { status, body: JSON.stringify(body) };
}

/**
 * An answer in the shape of Nevermined's error bodies. Codes are those of Nevermined's error
 * catalogue; `BCK.HTTP.<status>` is what its framework says when no domain code fits.
 */
export function problem(
  status: number,
  code: string,
  message: string,
  correlationId: string,
): Answer {
  return json(status, {
    code,
    message,
    category: categoryOf(status),
    retryable: status === 409 || status === 429 || status === 503,
    correlationId,
  });
}

function categoryOf(status: number): string {
  if (status >= 500) return "internal";
  if (status === 401 || status === 403) return "auth";
  return status === 402 || status === 409 || status === 429 ? "business" : "validation";
}
