/** Watching files that people and tools write: settles, never trusts events alone, reports the whole, not the difference. */

import { watch as chokidarWatch } from "chokidar";
import type { Watch } from "../../ports/store.ts";

/** `look` reads again, as after an event. */
export type FileWatch = Watch & { look(): void };

export type WatchOptions = {
  /** Quiet time after the last event before reading, so that a save in several steps is read once. */
  readonly holdoffMs?: number;
  /** Reading without any event: inotify can overflow, and network file systems send none. */
  readonly pollMs?: number;
  /** A read that failed, a watch that broke. The last value stands; the next poll tries again. */
  readonly onError?: ((error: unknown) => void) | undefined;
};

export const HOLDOFF_MS = 100;
const POLL_MS = 5000;

/**
 * Calls `onChange` with what `read` returns: once before it resolves, then after each change under `path` that makes a
 * difference to the value (compared as JSON). Reads never overlap.
 */
export async function watchFiles<Value>(
  path: string,
  read: () => Promise<Value>,
  onChange: (value: Value) => void,
  options: WatchOptions = {},
): Promise<FileWatch> {
  const { holdoffMs = HOLDOFF_MS, pollMs = POLL_MS, onError = () => undefined } = options;
  let last: string | undefined;
  let lastValue: Value | undefined;
  let reading: Promise<void> | undefined;
  let again = false;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;

  const readOnce = async (): Promise<void> => {
    try {
      const value = await read();
      // Whoever hands over the very same value has looked already; thousands of entries are not written out to compare them.
      if (value === lastValue) return;
      const text = JSON.stringify(value, (_key, part: unknown) => (part instanceof Map ? [...part] : part));
      if (closed || text === last) return;
      onChange(value);
      last = text;
      lastValue = value;
    } catch (error) {
      if (!closed) onError(error);
    }
  };
  const readAll = async (): Promise<void> => {
    do {
      again = false;
      await readOnce();
    } while (again && !closed);
    reading = undefined;
  };
  const check = (): void => {
    if (reading !== undefined) again = true;
    else reading = readAll();
  };
  const settle = (): void => {
    clearTimeout(timer);
    if (!closed) timer = setTimeout(check, holdoffMs);
  };

  const watcher = chokidarWatch(path, { ignoreInitial: true, depth: 0 });
  watcher.on("all", settle).on("error", onError);
  await new Promise<void>((resolve) => watcher.once("ready", resolve).once("error", () => resolve()));
  check();
  await reading;
  const poll = setInterval(check, pollMs);
  poll.unref();

  return {
    look() {
      if (!closed) check();
    },
    async close() {
      closed = true;
      clearTimeout(timer);
      clearInterval(poll);
      await watcher.close();
      await reading;
    },
  };
}
