/**
 * The operator's doors to a running standalone server: socket files in the data directory, so that the file system's
 * permissions decide who may use them.
 */

import { createHash } from "node:crypto";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

/** sun_path holds 108 bytes; a longer path is replaced by one in the folder for temporary files. */
const MAX_SOCKET_PATH = 100;

/** For HTTP: the command line's door. */
export function adminSocketPath(dataDir: string): string {
  return socketPath(dataDir, "admin.sock");
}

/** For gRPC: client status (CSDS), health, reflection. */
export function grpcSocketPath(dataDir: string): string {
  return socketPath(dataDir, "grpc.sock");
}

function socketPath(dataDir: string, name: string): string {
  const path = join(resolve(dataDir), name);
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH) return path;
  return join(tmpdir(), `meshroot-${createHash("sha256").update(path).digest("hex").slice(0, 16)}.sock`);
}
