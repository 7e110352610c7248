/**
 * What became of a response, told once. No event of Node's says it alone:
 * - `finish` means "handed to the operating system", and comes also when the client reset the
 *   connection while the last bytes were still waiting; only the socket shows that.
 * - `close` without `finish` is a cut, by the client or by a handler that threw in mid-stream.
 * - A response that was pipelined behind others on a socket that died emits neither, and its request
 *   may have emitted its own `close` long ago, when its body had been read. Only the socket's `close` is
 *   sure to come.
 *
 * What is not known is `unknown`: a socket that counts nothing is no evidence that nothing was delivered.
 */

import type { Socket } from "node:net";
import type { Request, Response } from "express";

/** What became of a response. */
export interface Delivery {
  /**
   * `complete`: handed whole to the operating system, which is not yet "the client has it".
   * `partial`: at least one byte of the body was. `none`: not one was. `unknown`: it was cut, and its
   * socket does not tell how much of it had gone.
   */
  readonly extent: "complete" | "partial" | "none" | "unknown";
  /** Who ended the connection before the response was complete; null when it was complete. */
  readonly cutBy: "client" | "server" | null;
  /** The status of the response: meaningless where nothing was delivered. */
  readonly status: number;
}

/**
 * Why nobody could tell what becomes of this response, in one sentence; undefined where that can be told.
 * To be asked before anything is done for it.
 */
export function whyUntold(req: Request, res: Response): string | undefined {
  const { httpVersionMajor, upgrade } = req as Request & { upgrade?: boolean };
  // Node's own server takes 0.9, too. A request that no parser made has no version.
  if (!(httpVersionMajor < 2) || httpVersionMajor === null) {
    return "This request came over HTTP/2 or by an adapter, not from a server of HTTP/1.1: end HTTP/2 in front of the application.";
  }
  // Node has handed the socket to whoever listens for upgrades; no response of HTTP comes of it.
  if (upgrade) {
    return "This request was upgraded to another protocol, such as a websocket, whose answers are no responses.";
  }
  if (!countsBytes(req.socket) || (res.socket && !countsBytes(res.socket))) {
    return "This request's socket is none of Node's: it does not count the bytes that it carries.";
  }
  return undefined;
}

/** Whether it has all that is read of a socket later on: adapters and compatibility layers have other things. */
function countsBytes(socket: Partial<Socket> | null | undefined): boolean {
  return (
    typeof socket?.on === "function" &&
    typeof socket.destroyed === "boolean" &&
    typeof socket.readableEnded === "boolean" &&
    socket.errored !== undefined &&
    Number.isFinite(socket.bytesWritten)
  );
}

/**
 * Calls back once, when the last listener for the first event that tells has been called: what they learn
 * counts, and what they do does not. So the decision is the same in whatever order anybody listens, and it
 * comes where one of them throws. The callback must not throw.
 */
export function watchDelivery(
  req: Request,
  res: Response,
  onDelivery: (delivery: Delivery) => void,
): void {
  // At `finish` the response has already let go of its socket.
  const socket = req.socket;
  // `bytesWritten` counts all that a keep-alive socket ever carried. A pipelined response is given
  // the socket when those before it have gone.
  let bytesBefore = res.socket ? socket.bytesWritten : undefined;
  let isTold = false;

  const onSocket = () => {
    bytesBefore = socket.bytesWritten;
  };
  const stopListening = onSocketClose(socket, () => tell(read(true)));

  function read(wasCut: boolean): Delivery {
    const status = res.statusCode;
    if (!wasCut) return { extent: "complete", cutBy: null, status };
    return {
      extent: extentOf(res, socket, bytesBefore),
      cutBy: clientLeft(res, socket) ? "client" : "server",
      status,
    };
  }

  function tell(delivery: Delivery) {
    if (isTold) return;
    isTold = true;
    stopListening();
    res.off("socket", onSocket);
    onDelivery(delivery);
  }

  if (bytesBefore === undefined) res.once("socket", onSocket);
  // Not a listener: one that was added before ours may destroy the socket (http-shutdown does), and one
  // that throws keeps the rest from being called.
  const emit = res.emit;
  res.emit = function emitted(this: Response, event: string | symbol, ...args: unknown[]) {
    const tells = !isTold && (event === "finish" || event === "close");
    if (!tells) return Reflect.apply(emit, this, [event, ...args]);
    // A write that failed calls `finish` back before the socket is destroyed.
    const delivery = read(event === "close" || socket.destroyed || socket.errored !== null);
    try {
      return Reflect.apply(emit, this, [event, ...args]);
    } finally {
      tell(delivery);
    }
  } as Response["emit"];
}

/**
 * How much of a response that was cut had been handed to the socket. Early hints (103) that a handler sent
 * count as a part of the body: Node does not tell their bytes from the body's.
 */
function extentOf(
  res: Response,
  socket: Socket,
  bytesBefore: number | undefined,
): Exclude<Delivery["extent"], "complete"> {
  // It never had the socket, or no head was ever made.
  if (bytesBefore === undefined || !res.headersSent) return "none";
  // `_header` is the head as it went out. It has no public name; morgan and on-headers read it too.
  const head = (res as unknown as { _header?: string | null })._header;
  const bytes = socket.bytesWritten - bytesBefore;
  if (typeof head !== "string" || !Number.isFinite(bytes)) return "unknown";
  return bytes > Buffer.byteLength(head, "latin1") ? "partial" : "none";
}

/**
 * Whether the client ended the connection: it sent its end (FIN), or reading or writing failed
 * underneath. A handler that destroys the response passes its own error along, or none.
 */
function clientLeft(res: Response, socket: Socket): boolean {
  if (socket.readableEnded || lines.get(socket)?.stalled) return true;
  const error: NodeJS.ErrnoException | null = socket.errored;
  if (error === null || error === res.errored) return false;
  return "syscall" in error || isClientsFault(error);
}

/** Whether Node gave the connection up for what the client sent on it, or did not send in time. */
function isClientsFault({ code = "" }: NodeJS.ErrnoException): boolean {
  return code.startsWith("HPE_") || code === "ERR_HTTP_REQUEST_TIMEOUT";
}

/** What is kept of a socket. */
interface Line {
  readonly onClose: Set<() => void>;
  /**
   * Node destroys a socket on which nothing moved for `server.timeout`. If bytes were waiting to be
   * read then, it was the client that stood still.
   */
  stalled: boolean;
}

const lines = new WeakMap<Socket, Line>();

/**
 * Calls back when the socket has closed, also where it has already. One listener for the life of a
 * socket: one a request would pass Node's limit of listeners when a client pipelines.
 *
 * @returns takes the callback off
 */
export function onSocketClose(socket: Socket, callback: () => void): () => void {
  const line = lines.get(socket) ?? listenTo(socket);
  line.onClose.add(callback);
  if (socket.closed) {
    queueMicrotask(() => {
      if (line.onClose.delete(callback)) callback();
    });
  }
  return () => void line.onClose.delete(callback);
}

function listenTo(socket: Socket): Line {
  const line: Line = { onClose: new Set(), stalled: false };
  lines.set(socket, line);
  socket.on("timeout", () => {
    if (socket.writableLength > 0) line.stalled = true;
  });
  socket.on("close", () => {
    for (const callback of line.onClose) {
      line.onClose.delete(callback);
      callback();
    }
  });
  return line;
}
