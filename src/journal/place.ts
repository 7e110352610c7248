/** Where a journal can live. Checked while the program starts, before anything is promised. */

import { randomUUID } from "node:crypto";
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from "node:fs";
import path from "node:path";
import { CreditMeterError } from "../errors.ts";

/**
 * Magic numbers of file systems, from statfs(2) and the kernel's `linux/magic.h`. SQLite's WAL needs
 * memory that all processes on the file share, which no network file system gives
 * (https://sqlite.org/wal.html, "Overview").
 */
const networks: ReadonlyMap<number, string> = new Map([
  [0x6969, "NFS"],
  [0x517b, "SMB"],
  [0xff534d42, "CIFS"],
  [0xfe534d42, "SMB2"],
  [0x01021997, "9p"],
  [0x5346414f, "AFS"],
  [0x00c36400, "Ceph"],
  [0x0bd00bd0, "Lustre"],
  [0x47504653, "GPFS"],
  [0x01161970, "GFS2"],
]);
const overlay = 0x794c7630;
const fuse = 0x65735546;
const tmpfs = 0x01021994;
const ramfs = 0x858458f6;

const alternatives =
  'Put it on a local disk or a mounted volume with the option journal: "/path/journal.db". journal: "memory" does without, and loses what is under way when the process ends.';

export interface Place {
  /** Absolute. */
  readonly file: string;
  /** Something that the operator should know. */
  readonly warning: string | undefined;
}

/** What an empty journal takes, and some. */
const roomNeeded = 512 * 1024;

/**
 * Makes the folder and the file, readable by their owner only.
 *
 * @param typeOf tells a folder's kind of file system; replaced in tests
 * @throws {CreditMeterError} `journal-unusable`
 */
export function findPlace(
  file: string,
  typeOf: (folder: string) => number = (folder) => statfsSync(folder).type,
): Place {
  let absolute = path.resolve(file);
  try {
    mkdirSync(path.dirname(absolute), { recursive: true, mode: 0o700 });
    create(absolute);
    // SQLite makes its other files beside the real one.
    absolute = realpathSync(absolute);
    if (!statSync(absolute).isFile()) throw Object.assign(new Error(), { code: "EISDIR" });
    accessSync(absolute, constants.R_OK | constants.W_OK);
    probe(`${absolute}-probe-${randomUUID()}`);
  } catch (error) {
    const code = isReadOnly(absolute) ? "EROFS" : (error as NodeJS.ErrnoException).code;
    const what = mends[code ?? ""] ?? (error as Error).message;
    throw unusable(`The journal cannot be written at ${absolute}: ${what}.`, error);
  }
  checkWhole(absolute);
  // The kernel gives the number as signed on some machines.
  const type = typeOf(path.dirname(absolute)) >>> 0;
  const network = networks.get(type);
  if (network !== undefined) {
    throw unusable(
      `The journal cannot live at ${absolute}: that is a network file system (${network}).`,
    );
  }
  return { file: absolute, warning: warnings.get(type) };
}

/** What SQLite adds to the name of its file for the log and for the index of the log. */
export const besides = ["-wal", "-shm"] as const;

/**
 * The three files are one: whoever opens the journal under another name, or sees the file without the folder,
 * makes a log of its own, and the two damage it (https://sqlite.org/howtocorrupt.html, sections 2.4 and 2.5).
 */
function checkWhole(file: string) {
  const { nlink } = statSync(file);
  if (nlink > 1) {
    throw unusable(
      `The journal cannot live at ${file}: that file has ${nlink} names (hard links), and each would have a log of its own. Remove the others.`,
    );
  }
  const mounts = mountPoints();
  for (const end of ["", ...besides]) {
    const one = file + end;
    const isMount = mounts?.has(one) ?? isElsewhere(one);
    if (!isMount) continue;
    throw unusable(
      `The journal cannot live at ${file}: ${path.basename(one)} is mounted without its folder, and the log would stay outside. Mount the folder ${path.dirname(file)} as a whole.`,
    );
  }
}

/** Where something is mounted; undefined where the system does not tell: proc_pid_mountinfo(5). */
function mountPoints(): ReadonlySet<string> | undefined {
  let list: string;
  try {
    list = readFileSync("/proc/self/mountinfo", "latin1");
  } catch {
    return undefined;
  }
  // Spaces and the like are written as the octal numbers of their bytes.
  const nameOf = (escaped: string) =>
    Buffer.from(
      escaped.replace(/\\([0-7]{3})/g, (_, octal) =>
        String.fromCharCode(Number.parseInt(octal, 8)),
      ),
      "latin1",
    ).toString();
  return new Set(list.split("\n").map((line) => nameOf(line.split(" ")[4] ?? "")));
}

/** Whether a file is on another device than its folder. */
function isElsewhere(file: string): boolean {
  const found = statSync(file, { throwIfNoEntry: false });
  return found !== undefined && found.dev !== statSync(path.dirname(file)).dev;
}

/**
 * Makes the file where there is none. One that exists is not even opened: to close it would drop the
 * locks of a journal that this process has open there, and the next process to close the file would
 * remove its log, with what it had committed (https://sqlite.org/howtocorrupt.html, section 2.2).
 */
function create(file: string) {
  try {
    closeSync(openSync(file, "wx", 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

/**
 * Whether a path lies on a file system that is mounted read-only, as a container's own is with `--read-only`.
 * Node says ENOENT where a folder cannot be made there, as if a part of the path were missing.
 */
function isReadOnly(file: string): boolean {
  let folder = path.dirname(file);
  while (!existsSync(folder) && path.dirname(folder) !== folder) folder = path.dirname(folder);
  try {
    accessSync(folder, constants.W_OK);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EROFS";
  }
}

/**
 * Writes beside the journal, and leaves nothing behind: a disk shows only so that it is full. The file is new:
 * a link that somebody has put there is not followed.
 */
function probe(file: string) {
  const handle = openSync(file, "wx", 0o600);
  try {
    rmSync(file, { force: true });
    const zeros = Buffer.alloc(roomNeeded);
    for (let at = 0; at < zeros.length; ) at += writeSync(handle, zeros, at);
  } finally {
    closeSync(handle);
  }
}

const mends: Readonly<Record<string, string>> = {
  EACCES: "permission is denied",
  EPERM: "permission is denied",
  ERR_ACCESS_DENIED:
    "Node's permission model forbids it; start Node with --allow-fs-read and --allow-fs-write for its folder, --allow-addons and --allow-worker",
  EROFS: "the file system is read-only (a container's own is with --read-only)",
  ENOSPC: "the disk is full",
  EDQUOT: "the disk quota is used up",
  EISDIR: "that is a folder, or no plain file",
  ENOTDIR: "a part of the path is a file",
  // From mkdir.
  EEXIST: "a part of the path is a file",
};

const inMemory = (name: string) =>
  `The journal lies in memory (${name}), and is gone when the machine restarts, with the charges that wait. Put it on a disk.`;

const warnings: ReadonlyMap<number, string> = new Map([
  [tmpfs, inMemory("tmpfs")],
  [ramfs, inMemory("ramfs")],
  [
    overlay,
    "The journal lies in a container's own layer, which goes with the container, and the charges that wait with it. Mount a volume there.",
  ],
  [
    fuse,
    "The journal lies on a FUSE file system. If that reaches over a network, it can be damaged; put it on a local disk.",
  ],
]);

/** @internal */
export function unusable(message: string, cause?: unknown): CreditMeterError {
  return new CreditMeterError("journal-unusable", `${message} ${alternatives}`, { cause });
}
