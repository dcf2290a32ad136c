/** What the operating system said, in the words of our errors. */

/** Whether `error` is the system's error `code` (`ENOENT`, `EEXIST` …). */
export function isSystemError(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}

/** What to do about a file that this user may not open; undefined where something else is wrong. */
export function ownerHint(path: string, error: unknown): string | undefined {
  if (!isSystemError(error, "EACCES") && !isSystemError(error, "EPERM")) return undefined;
  return `Nothing was changed. Give ${path} to the user that runs meshroot (\`chown\`, \`chmod u+rw\`), or run meshroot as its owner.`;
}

export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
