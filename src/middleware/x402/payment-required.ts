/**
 * What a seller answers to a request without a payment: x402 v2, section 5.1, with the fields of
 * Nevermined's scheme (nevermined-io/docs, specs/x402-smart-accounts, section 3.3).
 */

/**
 * One way to pay. Nevermined's scheme has not the fields `amount`, `asset`, `payTo` and `maxTimeoutSeconds`,
 * which x402 requires of its own schemes: what a request costs is known when it has been answered.
 */
export interface Scheme {
  readonly scheme: string;
  readonly network: string;
  readonly planId?: string;
  readonly extra?: {
    readonly version: string;
    readonly agentId?: string;
    readonly httpVerb?: string;
  };
}

/** The header `payment-required`, and what verify and settle want to see of it. */
export interface PaymentRequired {
  readonly x402Version: 2;
  /** For a person. */
  readonly error?: string;
  readonly resource: {
    readonly url: string;
    readonly description?: string;
    readonly mimeType?: string;
  };
  readonly accepts: readonly (Scheme | Readonly<Record<string, unknown>>)[];
  readonly extensions: Readonly<Record<string, never>>;
}

/** What is offered, and for what. The texts are the operator's, to be kept to a line. */
export interface Offer {
  /** The plans that pay for the resource. */
  readonly planIds: readonly string[];
  /** See `networkOf`. */
  readonly network: string;
  /** Where buyers reach this API, such as `https://api.example.com`. Without it the path alone is told. */
  readonly publicUrl?: string | undefined;
  /** `req.originalUrl`: as the buyer sent it. */
  readonly originalUrl: string;
  readonly httpVerb?: string | undefined;
  readonly agentId?: string | undefined;
  readonly description?: string | undefined;
  readonly mimeType?: string | undefined;
  readonly error?: string | undefined;
}

/**
 * The chain on which Nevermined keeps credits: Base for `live` and `staging_live`, Base Sepolia for all
 * others (its SDK's `getDefaultNetwork`).
 *
 * @param environment as Nevermined's SDK calls it
 */
export function networkOf(environment: string): string {
  const isLive = environment === "live" || environment === "staging_live";
  return isLive ? "eip155:8453" : "eip155:84532";
}

/** Pure: the same offer, the same object. Fields that are undefined are left out. */
export function createPaymentRequired(offer: Offer): PaymentRequired {
  const { network, httpVerb, agentId, description, mimeType, error } = offer;
  const extra = { version: "1", ...(agentId && { agentId }), ...(httpVerb && { httpVerb }) };
  return {
    x402Version: 2,
    ...(error && { error }),
    resource: {
      url: resourceUrl(offer.publicUrl, offer.originalUrl),
      ...(description && { description }),
      ...(mimeType && { mimeType }),
    },
    accepts: offer.planIds.map((planId) => ({ scheme: "nvm:erc4337", network, planId, extra })),
    extensions: {},
  };
}

/** Longer paths are not told: the header has to be read by clients that take 8 KiB of headers. */
const longestPath = 1024;

/**
 * Where the resource is. Neither a host that the buyer names nor a path that climbs (`/..`) leads out of
 * the public URL; queries are left out, for they may hold secrets.
 */
function resourceUrl(publicUrl: string | undefined, originalUrl: string): string {
  const path = pathOf(originalUrl);
  if (publicUrl === undefined) return path;
  const url = new URL(publicUrl);
  url.username = "";
  url.password = "";
  url.search = "";
  url.hash = "";
  url.pathname = `${url.pathname.replace(/\/+$/, "")}${path}`;
  return url.href;
}

/** The path of a request target: `/path?query`, or `http://host/path` (RFC 9112, section 3.2). */
function pathOf(target: string): string {
  const path = target.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#\\]*/i, "").replace(/[?#].*$/s, "");
  // Only a path that begins with one slash is never read as a host.
  const rooted = `/${path.replace(/^[/\\]+/, "")}`;
  const { pathname } = new URL(`http://any.invalid${rooted}`);
  const safe = pathname.replace(/^\/+/, "/");
  return safe.length > longestPath ? "/" : safe;
}

/** Characters of the header at the most. Node reads 16 KiB of headers in all, some proxies 8. */
const longestHeader = 6 * 1024;

/**
 * The header `payment-required`: base64 of JSON (x402 v2, transport HTTP). Plans that do not fit are left
 * out, the last ones first, and `error` says how many are told.
 */
export function encodePaymentRequired(required: PaymentRequired): string {
  const whole = encode(required);
  if (whole.length <= longestHeader) return whole;
  const { accepts, error, ...rest } = required;
  const shorten = (count: number): PaymentRequired => {
    const note = `Only ${count} of ${accepts.length} plans fit in here.`;
    return { ...rest, error: error ? `${error} ${note}` : note, accepts: accepts.slice(0, count) };
  };
  // The most that fit: whole numbers between what fits and what does not.
  let [fits, tooMany] = [0, accepts.length];
  while (tooMany - fits > 1) {
    const count = (fits + tooMany) >> 1;
    if (encode(shorten(count)).length <= longestHeader) fits = count;
    else tooMany = count;
  }
  return encode(shorten(fits));
}

function encode(required: PaymentRequired): string {
  return Buffer.from(JSON.stringify(required)).toString("base64");
}

/**
 * What goes to verify and settle: the one way to pay that the token is for. It is ours where we offer it,
 * else the buyer's as it came: the ledger decides about schemes that this package does not know.
 *
 * @param accepted of the token
 */
export function withAccepted(
  required: PaymentRequired,
  accepted: Readonly<Record<string, unknown>>,
): PaymentRequired {
  const ours = required.accepts.find(
    ({ scheme, network, planId }) =>
      scheme === accepted.scheme && network === accepted.network && planId === accepted.planId,
  );
  return { ...required, accepts: [ours ?? accepted] };
}
