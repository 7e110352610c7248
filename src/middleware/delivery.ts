/**
 * What became of a response, told once. No event of Node's says it alone:
 * - `finish` means "handed to the operating system", and comes also when the client reset the
 *   connection while the last bytes were still waiting; only the socket shows that.
 * - `close` without `finish` is a cut, by the client or by a handler that threw in mid-stream.
 * - A response that was pipelined behind others on a socket that died emits neither; only its
 *   request emits `close`.
 */

import type { Socket } from "node:net";
import type { Request, Response } from "express";

/** What became of a response. */
export interface Delivery {
  /**
   * `complete`: handed whole to the operating system, which is not yet "the client has it".
   * `partial`: at least one byte of the body was. `none`: not one was.
   */
  readonly extent: "complete" | "partial" | "none";
  /** Who ended the connection before the response was complete; null when it was complete. */
  readonly cutBy: "client" | "server" | null;
  /** The status of the response: meaningless where nothing was delivered. */
  readonly status: number;
}

/**
 * Calls back once, synchronously with the first event that tells. Both the request and the response
 * are listened to, and every listener is taken off before the call.
 */
export function watchDelivery(
  req: Request,
  res: Response,
  onDelivery: (delivery: Delivery) => void,
): void {
  // At `finish` the response has already let go of its socket.
  const socket = req.socket;
  watchStalls(socket);
  // `bytesWritten` counts all that a keep-alive socket ever carried. A pipelined response is given
  // the socket when those before it have gone.
  let bytesBefore = res.socket ? socket.bytesWritten : undefined;

  const onSocket = () => {
    bytesBefore = socket.bytesWritten;
  };
  // A write that failed calls `finish` back before the socket is destroyed.
  const onFinish = () => claim(socket.destroyed || socket.errored !== null);
  const onClose = () => claim(true);
  const onRequestClose = () => {
    // A request that was read to its end can be destroyed while its response goes on.
    if (socket.destroyed) claim(true);
  };

  function claim(wasCut: boolean) {
    res.off("socket", onSocket);
    res.off("finish", onFinish);
    res.off("close", onClose);
    req.off("close", onRequestClose);
    const status = res.statusCode;
    if (!wasCut) return onDelivery({ extent: "complete", cutBy: null, status });
    onDelivery({
      extent: hasBodyBytes(res, socket, bytesBefore) ? "partial" : "none",
      cutBy: clientLeft(res, socket) ? "client" : "server",
      status,
    });
  }

  if (bytesBefore === undefined) res.once("socket", onSocket);
  res.on("finish", onFinish);
  res.on("close", onClose);
  req.on("close", onRequestClose);
}

/**
 * Whether any byte of the body was handed to the socket. Early hints (103) that a handler sent count
 * as such: Node does not tell their bytes from the body's.
 */
function hasBodyBytes(res: Response, socket: Socket, bytesBefore: number | undefined): boolean {
  // `_header` is the head as it went out. It has no public name; morgan and on-headers read it too.
  const head = (res as unknown as { _header?: string | null })._header;
  if (bytesBefore === undefined || typeof head !== "string") return false;
  return socket.bytesWritten - bytesBefore > Buffer.byteLength(head, "latin1");
}

/**
 * Whether the client ended the connection: it sent its end (FIN), or reading or writing failed
 * underneath. A handler that destroys the response passes its own error along, or none.
 */
function clientLeft(res: Response, socket: Socket): boolean {
  if (socket.readableEnded || stalled.has(socket)) return true;
  const error: NodeJS.ErrnoException | null = socket.errored;
  if (error === null || error === res.errored) return false;
  return "syscall" in error || isClientsFault(error);
}

/** Whether Node gave the connection up for what the client sent on it, or did not send in time. */
function isClientsFault({ code = "" }: NodeJS.ErrnoException): boolean {
  return code.startsWith("HPE_") || code === "ERR_HTTP_REQUEST_TIMEOUT";
}

const watched = new WeakSet<Socket>();
const stalled = new WeakSet<Socket>();

/**
 * Node destroys a socket on which nothing moved for `server.timeout`. If bytes were waiting to be
 * read then, it was the client that stood still. One listener for the life of a socket: one a
 * request would pass Node's limit of listeners when a client pipelines.
 */
function watchStalls(socket: Socket): void {
  if (watched.has(socket)) return;
  watched.add(socket);
  socket.on("timeout", () => {
    if (socket.writableLength > 0) stalled.add(socket);
  });
}
