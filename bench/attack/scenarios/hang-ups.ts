/** Clients that take all of a response but its last byte, and go. */

import { once } from "node:events";
import net from "node:net";
import type { Request, Response } from "express";
import type { RoutePrice } from "../../../src/index.ts";
import { holderOf, numberHeader, plan, type Seen } from "../crowd.ts";
import { most, type Row } from "../row.ts";
import type { Scale } from "../scale.ts";
import { inWorld } from "../world.ts";

const price = 3;
const holder = holderOf(1);
const body = JSON.stringify({ answer: "x".repeat(1_000) });

/** How a handler may meet a client that goes: it has sent all, it sends the rest, it never ends. */
const manners = ["whole", "held back", "never ended"] as const;
const mannerOf = (number: number) => manners[number % manners.length];

export async function runHangUps({ calls }: Scale): Promise<Row[]> {
  const computed = (_req: unknown, res: Response) => res.locals.usage as number;
  return [
    await hangUps(`${calls} hang-ups at the last byte, fixed price`, price, calls),
    await hangUps(
      `${calls} hang-ups at the last byte, computed price`,
      { hold: price, price: computed },
      calls,
    ),
  ];
}

function hangUps(scenario: string, route: RoutePrice, calls: number): Promise<Row> {
  return inWorld({ price, route, answer: answerSlowly, abortGraceMs: 20 }, async (world) => {
    // More than enough: what is counted twice for a while must not be what refuses.
    world.mint(holder, 2 * calls * price);
    const numbers = Array.from({ length: calls }, (_, index) => index + 1);
    const seen = await Promise.all(numbers.map((number) => hangUp(world.port, number)));
    return world.row(scenario, seen, (taken) => [
      most("loss", taken.loss, "0", 0),
      most("answers that did not come", calls - taken.answers, "0", 0),
    ]);
  });
}

function answerSlowly(req: Request, res: Response) {
  const manner = mannerOf(Number(req.get(numberHeader)));
  res.locals.usage = price;
  res.setHeader("Content-Length", body.length);
  if (manner === "whole") return void res.end(body);
  res.write(body.slice(0, -1));
  if (manner === "held back") res.once("close", () => void res.end(body.slice(-1)));
}

/** Resolves when the client has gone. */
async function hangUp(port: number, number: number): Promise<Seen> {
  const socket = net.connect(port, "127.0.0.1");
  socket.setEncoding("latin1");
  socket.on("error", () => {});
  const headers = [
    "POST /call HTTP/1.1",
    "Host: attacked",
    "Content-Length: 0",
    `${numberHeader}: ${number}`,
    `Nevermined-Plan-Id: ${plan}`,
    `Nevermined-Holder-Address: ${holder}`,
    "Nevermined-Proof: 0xaa",
  ];
  socket.write(`${headers.join("\r\n")}\r\n\r\n`);
  let text = "";
  socket.on("data", (chunk) => {
    text += chunk;
    const end = text.indexOf("\r\n\r\n");
    if (end >= 0 && text.length >= end + 4 + body.length - 1) socket.destroy();
  });
  await once(socket, "close");
  const status = Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0);
  return { number, status, redemptionId: /redemption-id: (\S+)/i.exec(text)?.[1] };
}
