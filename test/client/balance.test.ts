import { afterEach, describe, expect, test } from "vitest";
import { listen } from "../support/server.ts";
import { aClient, apiKey, closeClients } from "./support.ts";

afterEach(closeClients);

const holder = "0xAbCdEf0123456789aBcDeF0123456789AbCdEf01";

/** Asks a server that answers everything like this for a balance. */
async function ask(status: number, body: unknown, path = "/api/v1") {
  const asked: { path: string | undefined; key: string | undefined }[] = [];
  const { url } = await listen((req, res) => {
    asked.push({ path: req.url, key: req.headers.authorization });
    res.writeHead(status).end(typeof body === "string" ? body : JSON.stringify(body));
  });
  const reading = await aClient({ baseUrl: `${url}${path}` }).balance("did:nv:1/2", holder);
  return { reading, asked };
}

describe("a question about a balance (B11)", () => {
  const below = `/protocol/plans/did%3Anv%3A1%2F2/balance/${holder}`;

  test("goes below the path of the base URL, without a key", async () => {
    const { asked } = await ask(200, { balance: 5 });
    expect(asked).toEqual([{ path: `/api/v1${below}`, key: undefined }]);
  });

  test("goes to the root of a base URL that has no path", async () => {
    const { asked } = await ask(200, { balance: 5 }, "");
    expect(asked).toEqual([{ path: below, key: undefined }]);
  });

  test.each<[what: string, status: number, body: unknown, amount: number | string]>([
    ["a balance", 200, { planId: "1", balance: 5 }, 5],
    ["what remains", 200, { total: "7", used: 2, remaining: "5" }, 5],
    ["more than a number holds", 200, { balance: "9007199254740993" }, "9007199254740993"],
    ["404 of a plan that is not known", 404, { code: "BCK.PROTOCOL.0003" }, 0],
    ["404 of a holder who is not known", 404, { code: "BCK.USER_PROFILE.0002" }, 0],
  ])("is answered by %s", async (_what, status, body, amount) => {
    expect((await ask(status, body)).reading).toEqual({ told: true, amount });
  });

  const unsaid: [what: string, status: number, body: unknown, answered: boolean][] = [
    ["404 of a gateway", 404, { message: "no Route matched with those values" }, true],
    ["404 of a mock server", 404, {}, true],
    ["404 of the framework", 404, { code: "BCK.HTTP.404", message: "Not Found" }, true],
    ["404 about the key", 404, { code: "BCK.APIKEY.0002" }, true],
    ["404 of NestJS", 404, { message: "Cannot GET /api/v1/protocol" }, true],
    ["404 in HTML", 404, "<h1>Not found</h1>", true],
    ["404 with an empty body", 404, "", true],
    ["200 without a balance", 200, { ok: true }, true],
    ["200 with a balance that cannot be read", 200, { balance: "many" }, true],
    ["400", 400, { code: "BCK.HTTP.400" }, true],
    ["401", 401, { code: "BCK.AUTH.0002" }, true],
    ["429", 429, {}, false],
    ["408", 408, {}, false],
    ["500", 500, { code: "BCK.PROTOCOL.0006" }, false],
  ];
  test.each(unsaid)("is not answered by %s, and it says why", async (...row) => {
    const [, status, body, answered] = row;
    const { reading } = await ask(status, body);
    expect(reading).toEqual({ told: false, answered, message: expect.stringMatching(/\d{3}/) });
  });

  test("is not answered where nobody is there, and it says why", async () => {
    const reading = await aClient({ baseUrl: "http://127.0.0.1:1" }).balance("1", holder);
    expect(reading).toEqual({
      told: false,
      answered: false,
      message: expect.stringContaining("ECONNREFUSED"),
    });
  });

  test("tells no secret of the seller's", async () => {
    const { reading } = await ask(404, { message: `no such key ${apiKey}` });
    expect(reading).toMatchObject({ told: false, message: expect.stringContaining("[hidden]") });
  });
});
