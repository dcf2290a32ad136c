/** What the operating system said, in the words of our errors. */

/** Whether `error` is the system's error `code` (`ENOENT`, `EEXIST` …). */
export function isSystemError(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}

export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
