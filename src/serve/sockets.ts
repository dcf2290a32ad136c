/**
 * The socket files of a data directory, which its owner alone may open from their first moment on: each is bound in a folder of
 * 0700 and put into place afterwards. Where the path is too long for a socket, it stays in that folder, in the one for temporary
 * files, under a name that nobody can guess; the data directory then holds a link to it.
 */

import { readlinkSync } from "node:fs";
import { chmod, lstat, mkdtemp, readdir, readlink, rename, rm, rmdir, stat, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { MeshrootError } from "../core/errors.ts";

/** sun_path holds 104 to 108 bytes, of which one is a zero. */
const MAX_SOCKET_PATH = 100;
/** Begins the names of folders that sockets are bound in. Together with the socket's as long as `admin.sock`. */
const BINDING = ".s";

/** The HTTP door of the command line. */
export const ADMIN_SOCKET = "admin.sock";
/** For gRPC: client status (CSDS), health, reflection. */
export const GRPC_SOCKET = "grpc.sock";
type SocketName = typeof ADMIN_SOCKET | typeof GRPC_SOCKET;

export type PlacedSocket<Server> = { readonly server: Server; remove(): Promise<void> };

/** Where to connect to; whether that can be believed is `trustedSocket`'s matter. */
function socketPath(dataDir: string, name: SocketName): string {
  const path = join(resolve(dataDir), name);
  try {
    return readlinkSync(path);
  } catch {
    return path;
  }
}

export function adminSocketPath(dataDir: string): string {
  return socketPath(dataDir, ADMIN_SOCKET);
}

export function grpcSocketPath(dataDir: string): string {
  return socketPath(dataDir, GRPC_SOCKET);
}

/**
 * Has `listen` bind a path and puts the socket into its place, where it replaces one that a killed server left: the caller
 * holds the lock. `remove` is for after the server was closed. Throws the system's error, MR2002 where something else has the name, and MR5003 where no folder is short enough.
 */
export async function placeSocket<Server>(
  dataDir: string,
  name: SocketName,
  listen: (path: string) => Promise<Server>,
): Promise<PlacedSocket<Server>> {
  const place = join(resolve(dataDir), name);
  await removePlaced(place);
  if (Buffer.byteLength(place) > MAX_SOCKET_PATH) return placeElsewhere(place, listen);
  await sweep(dirname(place));
  const folder = await mkdtemp(join(dirname(place), BINDING));
  try {
    const path = join(folder, "s");
    const server = await listen(path);
    await chmod(path, 0o600);
    await rename(path, place);
    return { server, remove: () => rm(place, { force: true }) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function placeElsewhere<Server>(
  place: string,
  listen: (path: string) => Promise<Server>,
): Promise<PlacedSocket<Server>> {
  const folder = await mkdtemp(join(tmpdir(), "meshroot-"));
  const path = join(folder, basename(place));
  try {
    if (Buffer.byteLength(path) > MAX_SOCKET_PATH) throw tooLong(place);
    const server = await listen(path);
    await chmod(path, 0o600);
    await symlink(path, place);
    return { server, remove: () => removePlaced(place) };
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

/** Also the folder that a link leads to, if nothing is in it that is not ours. */
async function removePlaced(place: string): Promise<void> {
  const target = await readlink(place).catch(() => undefined);
  await rm(place, { force: true }).catch((error: unknown) => {
    const message = `can't make a socket at ${place}: ${(error as Error).message}`;
    throw new MeshrootError("MR2002", message, `Remove ${place}: meshroot puts a socket there while it runs.`, error);
  });
  if (target === undefined || !/^meshroot-[A-Za-z0-9]{6}$/.test(basename(dirname(target)))) return;
  await rm(target, { force: true }).catch(() => undefined);
  await rmdir(dirname(target)).catch(() => undefined);
}

/** What a crash between binding and placing left. */
async function sweep(dataDir: string): Promise<void> {
  for (const name of await readdir(dataDir))
    if (/^\.s[A-Za-z0-9]{6}$/.test(name)) await rm(join(dataDir, name), { recursive: true, force: true });
}

/**
 * Where to connect to, after a look at whose socket it is: whoever answers there is believed, and hands out CAs and keys.
 * Undefined where there is none. Throws MR5011 where it is somebody else's: neither `uid`'s (ours), nor root's, nor, asked by
 * root, of the owner of the data directory.
 */
export async function trustedSocket(
  dataDir: string,
  name: SocketName,
  uid: number | undefined = process.geteuid?.(),
): Promise<string | undefined> {
  const base = resolve(dataDir);
  const place = join(base, name);
  try {
    const trusted = new Set([uid, 0, ...(uid === 0 ? [(await stat(base)).uid] : [])]);
    const check = async (path: string, is: "isSocket" | "isDirectory" | "isSymbolicLink") => {
      const found = await lstat(path);
      if (!found[is]()) throw untrusted(path, "it is not what meshroot puts there");
      if (uid !== undefined && !trusted.has(found.uid)) throw untrusted(path, `it belongs to user ${found.uid}`);
      return found;
    };
    if (!(await lstat(place)).isSymbolicLink()) {
      await check(place, "isSocket");
      return place;
    }
    await check(place, "isSymbolicLink");
    const target = await readlink(place);
    const { mode } = await check(dirname(target), "isDirectory");
    if ((mode & 0o077) !== 0) throw untrusted(dirname(target), "others than its owner may use it");
    await check(target, "isSocket");
    return target;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw error;
  }
}

function untrusted(path: string, why: string): MeshrootError {
  return new MeshrootError(
    "MR5011",
    `${path} is not a socket to believe: ${why}`,
    "Run the command as the user that the server runs as. If no server of yours uses this data directory, find out who put it there, and delete it.",
  );
}

function tooLong(place: string): MeshrootError {
  return new MeshrootError(
    "MR5003",
    `no room for the name of a socket: ${place} and the folder for temporary files are too long`,
    `Give a shorter --data-dir, or a TMPDIR of at most ${MAX_SOCKET_PATH - "/meshroot-123456/admin.sock".length} characters.`,
  );
}
