/** Makes a ledger's own words fit for a log: no secrets, one line, bounded. */

const longest = 300;
/** An echo that was cut short still gives away what it holds; this much of a secret is hidden. */
const shortestEcho = 8;

/**
 * @param secrets what was sent and may be repeated in an error: the API key, the proof
 */
export function presentable(text: string, secrets: readonly string[]): string {
  const hidden = secrets.reduce(hide, text);
  const line = hidden.replace(/[\s\p{Cc}]+/gu, " ").trim();
  return line.length > longest ? `${line.slice(0, longest - 1)}…` : line;
}

/** Replaces every occurrence of the secret, and of its beginning where the rest was cut off. */
function hide(text: string, secret: string): string {
  const start = secret.slice(0, shortestEcho);
  if (start === "") return text;
  let shown = "";
  let from = 0;
  for (;;) {
    const at = text.indexOf(start, from);
    if (at === -1) return shown + text.slice(from);
    let length = start.length;
    while (length < secret.length && text[at + length] === secret[length]) length += 1;
    shown += `${text.slice(from, at)}[hidden]`;
    from = at + length;
  }
}
