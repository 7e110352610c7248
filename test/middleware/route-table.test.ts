import express, { type Express, type Request, type Response } from "express";
import { describe, expect, test } from "vitest";
import { CreditMeterError } from "../../src/errors.ts";
import { createRouteTable, type RouteTable } from "../../src/middleware/route-table.ts";
import { type Cost, handle, isExpress4 } from "./route-world.ts";

const rest = isExpress4 ? "*" : "*rest";

function tableOf(routes: Record<string, Cost>): RouteTable<Cost> {
  return createRouteTable(
    routes,
    (cost) => cost === "free",
    (cost) => (cost === "free" ? undefined : cost),
  );
}

interface Asked {
  /** The row that the table found. */
  readonly row: string | undefined;
  /** What the handler that answered calls itself. */
  readonly reached: string | undefined;
  readonly mismatch: string | undefined;
  readonly status: number | undefined;
}

type Named = (name: string) => (req: Request, res: Response) => void;

/** Asks applications whose meter only notes what it finds. */
function api(
  routes: Record<string, Cost>,
  build: (meter: express.RequestHandler, named: Named) => Express,
) {
  const table = tableOf(routes);
  let asked: { -readonly [Key in keyof Asked]: Asked[Key] };
  let found: ReturnType<typeof table.match>;
  const meter: express.RequestHandler = (req, _res, next) => {
    found = table.match(req);
    asked.row = found?.key;
    next();
  };
  const named: Named = (name) => (req, res) => {
    asked.reached = name;
    asked.mismatch = table.mismatch(req, found)?.key;
    res.end();
  };
  const app = build(meter, named);
  const ask = async (method: string, target: string): Promise<Asked> => {
    found = undefined;
    asked = { row: undefined, reached: undefined, mismatch: undefined, status: undefined };
    const error = await handle(app, method, target);
    asked.status = (error as { status?: number } | undefined)?.status;
    return asked;
  };
  return { table, ask };
}

/** An application with one handler per row, flat, in the order of the table. */
function flat(routes: Record<string, Cost>, settings: readonly string[] = []) {
  return api(routes, (meter, named) => {
    const app = express();
    for (const setting of settings) app.enable(setting);
    app.use(meter);
    for (const key of Object.keys(routes)) {
      const [method = "", path = ""] = key.split(" ");
      app[method.toLowerCase() as "all"](path, named(key));
    }
    return app;
  });
}

describe("one row and the spellings of its route", () => {
  test.each([
    ["GET /v1/models", "GET", "/v1/models"],
    ["GET /v1/models", "GET", "/V1/Models/?limit=2"],
    ["GET /v1/models", "HEAD", "/v1/models"],
    ["GET /v1/models", "GET", "http://other.example/v1/models"],
    ["GET /v1/models", "GET", "/v1/models?from=http://other.example/"],
    ["GET /v1/models/:id", "GET", "/v1/models/gpt%2F4"],
    ["GET /v1/models/:id", "GET", "/v1/models/it's|{x}"],
    ["GET /files/:name.json", "GET", "/files/a.b.json"],
    ["ALL /v1/chat", "PATCH", "/v1/chat"],
    [`POST /proxy/${rest}`, "POST", "/proxy//a//b"],
    ["GET /", "GET", "/"],
  ])("%s is reached and found by %s %s", async (key, method, target) => {
    expect(await flat({ [key]: 1 }).ask(method, target)).toMatchObject({ row: key, reached: key });
  });

  test.each([
    ["GET /v1/models", "POST", "/v1/models"],
    ["GET /v1/models", "GET", "/v1/models/7"],
    ["GET /v1/models", "GET", "/v1%2Fmodels"],
    ["GET /v1/models", "GET", "/v1/mod%65ls"],
    ["GET /v1/models", "GET", "/v1/x/../models"],
    ["GET /v1/models/:id", "GET", "/v1/models/"],
    ["POST /v1/models", "HEAD", "/v1/models"],
  ])("%s is neither reached nor found by %s %s", async (key, method, target) => {
    const asked = await flat({ [key]: 1 }).ask(method, target);
    expect(asked).toMatchObject({ row: undefined, reached: undefined });
  });

  test.each(["ALL /v1/chat", "OPTIONS /v1/chat"])("OPTIONS belongs to %s", async (key) => {
    const asked = await flat({ "GET /v1/chat": 2, [key]: 1 }).ask("OPTIONS", "/v1/chat");
    expect(asked).toMatchObject({ row: key, reached: key, mismatch: undefined });
  });

  test("OPTIONS that Express answers itself is no row of another method", async () => {
    const asked = await flat({ "GET /v1/chat": 1 }).ask("OPTIONS", "/v1/chat");
    expect(asked).toMatchObject({ row: undefined, reached: undefined, mismatch: undefined });
  });
});

describe("targets answered 400", () => {
  test("a parameter with a broken encoding", async () => {
    const asked = await flat({ "GET /v1/:id": 1 }).ask("GET", "/v1/%zz");
    expect(asked).toMatchObject({ row: undefined, reached: undefined, status: 400 });
  });

  test.each([
    ["a fragment behind what the parser escapes", "/a{b/Xchat#"],
    ["an absolute URL with the same", "http://host/a{b/Xchat"],
    ["a fragment, in front of which Express 5 leaves a slash", "/a/chat#"],
    ["a backslash that the parser turns", "/a\\chat#"],
    ["a host that the parser takes for a path", "http://ho;st/ab/chat"],
    ["an absolute URL without a path", "http://host"],
    ["another scheme than HTTP", "foo://host/a/chat"],
  ])("%s", async (_name, target) => {
    const routes: Record<string, Cost> = { "GET /:tenant/chat": 1 };
    const { ask } = api(routes, (meter, named) => {
      const tenant = express.Router();
      tenant.get("/chat", named("chat"));
      return express().use(meter).use("/:tenant", tenant);
    });
    expect(await ask("GET", target)).toMatchObject({ reached: undefined, status: 400 });
  });

  test("Express itself would let that path through", async () => {
    const { ask } = api({}, (_meter, named) => {
      const tenant = express.Router();
      tenant.get("/chat", named("chat"));
      return express().use("/:tenant", tenant);
    });
    expect(await ask("GET", "/a{b/Xchat#")).toMatchObject({ reached: "chat" });
  });
});

describe("below mount paths", () => {
  test("strict routing tells a mount path from the one with a slash", async () => {
    const routes: Record<string, Cost> = { "GET /v1": 1, "GET /v1/": 2 };
    const { ask } = api(routes, (meter, named) => {
      const app = express().enable("strict routing").use("/v1", meter);
      for (const path of ["/v1", "/v1/"]) app.get(path, named(`GET ${path}`));
      return app;
    });
    for (const path of ["/v1", "/v1/"]) {
      for (const target of [path, `${path}?a=/`, `http://host${path}`]) {
        const row = `GET ${path}`;
        expect(await ask("GET", target)).toMatchObject({ row, reached: row, mismatch: undefined });
      }
    }
  });

  test("a doubled slash that Express 4 lets the mount path swallow", async () => {
    const { ask } = api({ "POST /v1/chat": 1 }, (meter, named) => {
      const v1 = express.Router();
      v1.post("/chat", named("chat"));
      return express().use(meter).use("/v1", v1);
    });
    const reached = isExpress4 ? "chat" : undefined;
    expect(await ask("POST", "/v1//chat")).toMatchObject({ row: "POST /v1/chat", reached });
  });

  test("the same in front of a cheaper wildcard", async () => {
    const routes: Record<string, Cost> = { "POST /v1/chat": 100, [`POST /v1/${rest}`]: 1 };
    const { ask } = api(routes, (meter, named) => {
      const v1 = express.Router();
      v1.post("/chat", named("chat"));
      v1.post(`/${rest}`, named("rest"));
      return express().use(meter).use("/v1", v1);
    });
    expect(await ask("POST", "/v1//chat")).toMatchObject({ row: "POST /v1/chat" });
    expect(await ask("POST", "/v1/other")).toMatchObject({ row: `POST /v1/${rest}` });
  });

  test("a free row does not hide a wildcard that is reached by its doubled slash", async () => {
    const routes: Record<string, Cost> = { "POST /v1/free": "free", [`POST /v1/${rest}`]: 1 };
    const { ask } = api(routes, (meter, named) => {
      const app = express().use("/v1", meter);
      app.post("/v1/free", named("free"));
      return app.post(`/v1/${rest}`, named("rest"));
    });
    expect(await ask("POST", "/v1//free")).toMatchObject({
      row: `POST /v1/${rest}`,
      reached: "rest",
    });
    expect(await ask("POST", "/v1/free")).toMatchObject({ row: "POST /v1/free", reached: "free" });
  });

  test("a mount path by itself reaches an Express 4 wildcard below it", async () => {
    const { ask } = api({ [`POST /v1/${rest}`]: 1 }, (meter, named) => {
      const v1 = express.Router();
      v1.post(`/${rest}`, named("rest"));
      return express().use(meter).use("/v1", v1);
    });
    const asked = await ask("POST", "/v1");
    expect(asked.reached).toBe(isExpress4 ? "rest" : undefined);
    if (isExpress4) expect(asked.row).toBe("POST /v1/*");
  });

  test("a meter inside a mounted application reads the whole path", async () => {
    const { ask } = api({ "GET /shop/:id/Items": 1 }, (meter, named) => {
      const shop = express().enable("case sensitive routing").use(meter);
      shop.get("/:id/Items", named("items"));
      return express().use("/shop", shop);
    });
    expect(await ask("GET", "/SHOP/7/Items")).toMatchObject({
      row: "GET /shop/:id/Items",
      reached: "items",
    });
  });

  test("a router looser than its application", async () => {
    const { ask } = api({ "GET /v1/chat": 1 }, (meter, named) => {
      const v1 = express.Router();
      v1.get("/chat", named("chat"));
      const app = express().enable("case sensitive routing").enable("strict routing");
      return app.use(meter).use("/v1", v1);
    });
    expect(await ask("GET", "/v1/CHAT/")).toMatchObject({ row: "GET /v1/chat", reached: "chat" });
  });

  test("a router stricter than its application, whose free row is not reached", async () => {
    const routes: Record<string, Cost> = { "GET /v1/health": "free", "GET /v1/:id": 5 };
    const { ask } = api(routes, (meter, named) => {
      const v1 = express.Router({ caseSensitive: true });
      v1.get("/health", named("health"));
      v1.get("/:id", named("id"));
      return express().use(meter).use("/v1", v1);
    });
    expect(await ask("GET", "/v1/HEALTH")).toMatchObject({ row: "GET /v1/:id", reached: "id" });
    expect(await ask("GET", "/v1/health")).toMatchObject({
      row: "GET /v1/health",
      reached: "health",
    });
  });

  test("a URL rewritten in front of the meter", async () => {
    const { ask } = api({ "GET /v1/chat": 1 }, (meter, named) => {
      const app = express().use((req, _res, next) => {
        req.url = req.url.replace("/old", "/v1");
        next();
      });
      return app.use("/v1", meter).get("/v1/chat", named("chat"));
    });
    expect(await ask("GET", "/old/chat")).toMatchObject({ row: "GET /v1/chat", reached: "chat" });
  });
});

describe("rows that overlap", () => {
  test.each([
    ["GET", "/v1/models", "GET /v1/models"],
    ["HEAD", "/v1/models", "GET /v1/models"],
    ["GET", "/v1/other", `ALL /v1/${rest}`],
    ["POST", "/v1/models", `ALL /v1/${rest}`],
  ])("a free row in front of a wildcard: %s %s", async (method, target, row) => {
    const routes: Record<string, Cost> = { "GET /v1/models": "free", [`ALL /v1/${rest}`]: 3 };
    expect(await flat(routes).ask(method, target)).toMatchObject({ row, reached: row });
  });

  test("where the spelling leaves it open, the higher fixed price counts", async () => {
    const { ask } = flat({ "GET /v1/me": 1, "GET /v1/:id": 5 });
    expect(await ask("GET", "/v1/me")).toMatchObject({ row: "GET /v1/me" });
    expect(await ask("GET", "/v1/ME")).toMatchObject({ row: "GET /v1/:id", reached: "GET /v1/me" });
  });

  test("computed prices cannot be compared: the first row counts", () => {
    const table = createRouteTable({ "GET /v1/me": "a", "GET /v1/:id": "b" }, () => false);
    const req = { method: "GET", url: "/v1/ME", originalUrl: "/v1/ME", baseUrl: "" } as Request;
    expect(table.match(req)?.key).toBe("GET /v1/me");
  });

  test.each([
    [["case sensitive routing"], "GET /v1/Users/:id", "GET /v1/users/:user", "/v1/users/7"],
    [["strict routing"], "GET /v1/", "GET /v1", "/v1"],
  ])("rows that only %s tells apart", async (settings, first, second, target) => {
    const { ask } = flat({ [first]: 5, [second]: 1 }, settings);
    expect(await ask("GET", target)).toMatchObject({ row: second, reached: second });
  });

  test("more of them than Express's router takes in one go", async () => {
    const routes = Object.fromEntries(
      Array.from({ length: 240 }, (_, index) => [`GET /:v${index}`, "free" as Cost]),
    );
    routes["GET /:last/"] = 7;
    expect(await flat(routes).ask("GET", "/x/")).toMatchObject({ row: "GET /:last/" });
  });
});

describe("mismatch", () => {
  test("names the row of the route that answered a URL rewritten behind the meter", async () => {
    const routes: Record<string, Cost> = { "GET /cheap": 1, "GET /v1/dear": 100 };
    const { ask } = api(routes, (meter, named) => {
      const app = express().use(meter);
      app.use((req, _res, next) => {
        req.url = "/v1/dear";
        next();
      });
      const v1 = express.Router();
      v1.get("/dear", named("dear"));
      return app.use("/v1", v1);
    });
    expect(await ask("GET", "/cheap")).toMatchObject({
      row: "GET /cheap",
      mismatch: "GET /v1/dear",
    });
    expect(await ask("GET", "/none")).toMatchObject({ row: undefined, mismatch: "GET /v1/dear" });
    expect(await ask("HEAD", "/cheap")).toMatchObject({ mismatch: "GET /v1/dear" });
  });

  test("names the row of overlapping routes in another order than the rows", async () => {
    const routes: Record<string, Cost> = { "GET /v1/:id": 1, "GET /v1/me": 5 };
    const { ask } = api(routes, (meter, named) =>
      express().use(meter).get(["/v1/me", "/me"], named("me")),
    );
    expect(await ask("GET", "/v1/me")).toMatchObject({
      row: "GET /v1/:id",
      reached: "me",
      mismatch: "GET /v1/me",
    });
  });

  test.each([
    ["GET /v1/chat", "/V1/chat/"],
    ["ALL /v1/chat", "/v1/chat"],
    ["GET /v1/:id", "/v1/7"],
  ])("is silent when %s answers %s", async (key, target) => {
    const { ask } = flat({ [key]: 1, "GET /v1/Chat": "free" });
    expect(await ask("GET", target)).toMatchObject({ row: key, reached: key, mismatch: undefined });
  });

  test("is silent where no route answered, or a regular expression did", async () => {
    const { ask } = api({ "GET /a": 1 }, (meter, named) =>
      express().use(meter).get(/^\/a/, named("expression")).use("/b", named("use")),
    );
    expect(await ask("GET", "/a")).toMatchObject({ reached: "expression", mismatch: undefined });
    expect(await ask("GET", "/b")).toMatchObject({ reached: "use", mismatch: undefined });
  });
});

test("unused names the rows that no request has matched", async () => {
  const { table, ask } = flat({ "GET /a": 1, "GET /b": "free", "GET /typo": 1 });
  expect(table.unused()).toHaveLength(3);
  await ask("GET", "/a");
  await ask("HEAD", "/b");
  expect(table.unused().map((row) => row.key)).toEqual(["GET /typo"]);
});

describe("rows that cannot be", () => {
  test.each([
    ["post /x", "Write the method in capitals"],
    ["POST v1", "the path from the root"],
    ["/x", "Write the method in capitals"],
    ["POST  /x", "one space"],
    ["FOO /x", "is no HTTP method"],
    [isExpress4 ? "GET /x(" : "GET /x/*", "for the version of Express that is installed"],
  ])("%s", (key, told) => {
    let thrown: unknown;
    try {
      tableOf({ [key]: 1 });
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(CreditMeterError);
    expect(thrown).toMatchObject({ code: "route-invalid", message: expect.stringContaining(told) });
    expect(thrown).toMatchObject({ message: expect.stringContaining(`"${key}"`) });
  });

  test("an optional part may begin the path, as in Express 5", async () => {
    const key = isExpress4 ? "GET /:lang?" : "GET {/:lang}";
    for (const target of ["/", "/en"]) {
      expect(await flat({ [key]: 1 }).ask("GET", target)).toMatchObject({ row: key, reached: key });
    }
  });
});

test("a table without rows finds nothing and refuses nothing", async () => {
  expect(await flat({}).ask("GET", "http://host")).toMatchObject({ row: undefined });
});
