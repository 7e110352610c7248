/** Makes a ledger's own words fit for a log: no secrets, one line, bounded. */

const longest = 300;
/** An echo that was cut short still gives away what it holds: a beginning this long is hidden, */
const shortestBeginning = 8;
/** and any piece this long: a proof that is JSON comes back escaped, spread out or in parts. */
const shortestPiece = 16;

/**
 * @param secrets what was sent and may be repeated in an error: the API key, the proof
 */
export function presentable(text: string, secrets: readonly string[]): string {
  // Cut first: a ledger may answer with 64 KiB of prose.
  const hidden = secrets.reduce(hide, text.slice(0, 4 * longest));
  const line = hidden.replace(/[\s\p{Cc}]+/gu, " ").trim();
  return line.length > longest ? `${line.slice(0, longest - 1)}…` : line;
}

function hide(text: string, secret: string): string {
  let shown = "";
  let at = 0;
  while (at < text.length) {
    const length = echoLength(text, at, secret);
    shown += length > 0 ? "[hidden]" : text[at];
    at += Math.max(1, length);
  }
  return shown;
}

/** How much of the secret stands at this place of the text; 0 where it is too little to matter. */
function echoLength(text: string, at: number, secret: string): number {
  if (secret === "") return 0;
  const piece = text.slice(at, at + shortestPiece);
  let from = piece.length === shortestPiece ? secret.indexOf(piece) : -1;
  if (text.startsWith(secret.slice(0, shortestBeginning), at)) from = 0;
  if (from === -1) return 0;
  let length = 0;
  while (from + length < secret.length && text[at + length] === secret[from + length]) length += 1;
  return length;
}
