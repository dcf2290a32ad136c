/** A state store in memory whose writes can be held back, and lost by a crash. */

import type { TrustDocument } from "../../../src/controller/durable-state.ts";
import type { StateStore } from "../../../src/controller/ports.ts";

type Write = { readonly apply: () => void; readonly done: () => void };

export class MemoryState {
  #trust: string | undefined;
  /** Generation of the trust that a server started now would read; 0: none. */
  generation = 0;
  readonly #rows = new Map<string, string>();
  #pending: Write[] = [];
  #incarnation = 0;
  #held = false;

  /** Writes take until `finishOne` or `release`. */
  hold(): void {
    this.#held = true;
  }

  get pending(): number {
    return this.#pending.length;
  }

  /** The disk finishes its oldest write. */
  finishOne(): void {
    const write = this.#pending.shift();
    write?.apply();
    write?.done();
  }

  release(): void {
    this.#held = false;
    while (this.#pending.length > 0) this.finishOne();
  }

  /** The process is gone: each write that was under way is on disk or not, as the bits of `mask` say. */
  crash(mask: number): void {
    for (const [index, write] of this.#pending.entries()) if ((mask >> (index % 8)) & 1) write.apply();
    this.#pending = [];
    this.#incarnation += 1;
    this.#held = false;
  }

  /** The store as one process sees it. After that process's crash its writes go nowhere and never end. */
  open(): StateStore {
    const mine = this.#incarnation;
    const write = (apply: () => void): Promise<void> =>
      new Promise((done) => {
        if (mine !== this.#incarnation) return;
        if (this.#held) this.#pending.push({ apply, done });
        else {
          apply();
          done();
        }
      });
    return {
      loadTrust: async () => (this.#trust === undefined ? undefined : JSON.parse(this.#trust)),
      saveTrust: (value) => {
        const text = JSON.stringify(value);
        const { generation } = (value as TrustDocument).trust;
        return write(() => {
          this.#trust = text;
          this.generation = generation;
        });
      },
      loadRows: async () => new Map([...this.#rows].map(([key, text]) => [key, JSON.parse(text)])),
      writeRows: (rows) => {
        const texts = rows.map(({ key, value }) => ({ key, text: value === null ? undefined : JSON.stringify(value) }));
        return write(() => {
          for (const { key, text } of texts) {
            if (text === undefined) this.#rows.delete(key);
            else this.#rows.set(key, text);
          }
        });
      },
    };
  }
}
