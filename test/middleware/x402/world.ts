import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";
import { buying, tokenOf, verify } from "../../ledger/x402-wire.ts";

/** A token that is bound to a resource, and a way to ask the embedded ledger about it. */
export async function verificationOf(url: string) {
  const { ledger } = await buying(5);
  const token = await tokenOf(ledger, { resource: { url } });
  return {
    token,
    verify: async (paymentRequired: object) =>
      (await verify(ledger, token, { paymentRequired })).body,
  };
}

/** A ledger that answers each path with one thing, and remembers what it was asked. */
export async function listenTo(answers: Readonly<Record<string, object>>) {
  const asked: { path: string; body: Record<string, unknown> }[] = [];
  const server = createServer(async (req, res) => {
    const chunks: Buffer[] = [];
    for await (const chunk of req) chunks.push(chunk);
    const path = (req.url ?? "").replace("/api/v1", "");
    asked.push({ path, body: JSON.parse(Buffer.concat(chunks).toString() || "{}") });
    const answer = answers[path];
    res.writeHead(answer ? 201 : 500, { "content-type": "application/json" });
    res.end(JSON.stringify(answer ?? {}));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return {
    baseUrl: `http://127.0.0.1:${port}`,
    heard: (path: string) => asked.filter((one) => one.path === path).map(({ body }) => body),
  };
}
