/** What the operating system said, in the words of our errors. */

import { MeshrootError } from "../core/errors.ts";

/** Whether `error` is the system's error `code` (`ENOENT`, `EEXIST` …). */
export function isSystemError(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}

/** What to do about a file that this user may not open; undefined where something else is wrong. */
export function ownerHint(path: string, error: unknown): string | undefined {
  if (!isSystemError(error, "EACCES") && !isSystemError(error, "EPERM")) return undefined;
  return `Nothing was changed. Give ${path} to the user that runs meshroot (\`chown\`, \`chmod u+rw\`), or run meshroot as its owner.`;
}

/** The system's words without the path, which for an unfinished file is another one each time. */
export function faultText(error: unknown): string {
  return errorText(error).replace(/ '.*'$/, "");
}

/** What to do about a disk that does not take what is written to `path`, and what comes of it. */
export function diskHint(path: string, error: unknown, then = "it goes on by itself"): string {
  const hint = Object.entries(DISK_HINTS).find(([code]) => isSystemError(error, code))?.[1];
  return (
    hint?.replace("THEN", then) ??
    ownerHint(path, error) ??
    `Check that the user running meshroot owns the directory of ${path} and that its disk has room.`
  );
}

const DISK_HINTS: Readonly<Record<string, string>> = {
  ENOSPC: "Make room on the disk under the data directory (`df -h`, `df -i`); then THEN.",
  EDQUOT: "Raise the disk quota of this user, or make room; then THEN.",
  EROFS: "The file system is mounted read-only: the kernel's log says why; mount it writable again.",
  EIO: "The disk reports errors: copy the data directory to another one, and start meshroot on that.",
  EMFILE: "Too many files are open: start meshroot with a higher `ulimit -n`.",
  ENFILE: "This machine has too many files open: close some, or raise fs.file-max.",
  ENOENT: "The data directory was moved away while meshroot runs: put it back, or start meshroot where it is now.",
};

/** Without the code where it is an error of our own: it becomes part of another one. */
export function errorText(error: unknown): string {
  if (error instanceof MeshrootError) return error.message.slice(error.code.length + 1);
  return error instanceof Error ? error.message : String(error);
}
