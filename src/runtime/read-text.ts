/** Reads the text files that people write, never more of one than its kind can need. */

import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { MeshrootError } from "../core/errors.ts";

/** Ten times the largest file that `kubectl` writes of what we read; Kubernetes itself takes no Secret above it. */
export const MAX_FILE_BYTES = 1024 * 1024;

const CHUNK_BYTES = 64 * 1024;

export type TextFile = {
  readonly text: string;
  /** Permission bits. */
  readonly mode: number;
  /** Milliseconds since the epoch; 0 where the file system knows no time of birth. */
  readonly birthtimeMs: number;
  readonly mtimeMs: number;
};

/**
 * The whole file, decoded by its byte order mark (editors and shells of Windows write UTF-16). Throws MR2010 for
 * more than `maxBytes`; the system's error, ENOENT too; and an Error for what is no file: a pipe would be read for ever.
 */
export async function readText(path: string, maxBytes = MAX_FILE_BYTES): Promise<TextFile> {
  // Without O_NONBLOCK opening a pipe that nobody writes to blocks a thread for good.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw new Error(stat.isDirectory() ? "EISDIR: it is a folder" : "it is no regular file");
    if (stat.size > maxBytes) throw tooLarge(path, maxBytes);
    const chunks: Buffer[] = [];
    let length = 0;
    // To its end, wherever that is: a file can grow while it is read.
    for (;;) {
      const { bytesRead, buffer } = await file.read({ buffer: Buffer.alloc(Math.min(stat.size + 1, CHUNK_BYTES)) });
      if (bytesRead === 0) break;
      length += bytesRead;
      if (length > maxBytes) throw tooLarge(path, maxBytes);
      chunks.push(buffer.subarray(0, bytesRead));
    }
    const text = decodeText(Buffer.concat(chunks));
    return { text, mode: stat.mode & 0o777, birthtimeMs: stat.birthtimeMs, mtimeMs: stat.mtimeMs };
  } finally {
    await file.close();
  }
}

/** UTF-8, or UTF-16 where the byte order mark says so; the mark itself goes. */
export function decodeText(bytes: Buffer): string {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return bytes.toString("utf16le", 2);
  if (bytes[0] === 0xfe && bytes[1] === 0xff)
    return Buffer.from(bytes.subarray(2, bytes.length & ~1))
      .swap16()
      .toString("utf16le");
  return bytes.toString("utf8", bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0);
}

function tooLarge(path: string, maxBytes: number): MeshrootError {
  return new MeshrootError(
    "MR2010",
    `${path} is larger than ${maxBytes / 1024} KiB`,
    "Nothing of it was read. Give each manifest a file of its own, and put nothing else into this folder.",
  );
}
