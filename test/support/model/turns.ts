/**
 * Turns of the event loop under the model's control, so that a history replays exactly: what the code under test hands to
 * `setImmediate` waits in a queue of ours, and a crash can throw the queue away.
 */

const realImmediate = globalThis.setImmediate;

export class Turns {
  #queue: (() => void)[] = [];

  /** Puts this queue in the place of the global `setImmediate`; returns the way back. */
  install(): () => void {
    globalThis.setImmediate = ((callback: () => void) => {
      this.#queue.push(callback);
    }) as unknown as typeof setImmediate;
    return () => {
      globalThis.setImmediate = realImmediate;
    };
  }

  /** Until no promise is left to settle: the queue of `nextTick` comes after all of them. */
  promises(): Promise<void> {
    return new Promise((resolve) => process.nextTick(resolve));
  }

  /** Runs everything that is ready now, promises included. */
  async drain(): Promise<void> {
    for (;;) {
      await this.promises();
      const job = this.#queue.shift();
      if (job === undefined) return;
      job();
    }
  }

  clear(): void {
    this.#queue = [];
  }
}
