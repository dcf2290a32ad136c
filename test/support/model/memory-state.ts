/** A state store in memory whose writes can be held back, and lost by a crash. */

import type { TrustDocument } from "../../../src/controller/durable-state.ts";
import { MeshrootError } from "../../../src/core/errors.ts";
import type { EvidenceStore, StateStore, Stored, TrustStore } from "../../../src/ports/store.ts";

type Write = { readonly apply: () => void; readonly done: () => void };

export class MemoryState {
  /** A `Stored`. */
  #trust: string | undefined;
  /** The highest revision that was tried. */
  #tried = 0;
  /** Generation of the trust that a server started now would read; 0: none. */
  generation = 0;
  readonly #rows = new Map<string, string>();
  #pending: Write[] = [];
  #incarnation = 0;
  #held = false;
  /** How the next save of the trust fails: after it has reached the disk, or before; undefined: it does not. */
  #failing: "late" | "early" | undefined;

  /** Writes take until `finishOne` or `release`. */
  hold(): void {
    this.#held = true;
  }

  /** The next save of the trust of this process fails. */
  fail(how: "late" | "early"): void {
    this.#failing = how;
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
    this.#failing = undefined;
    const write = (apply: () => void): Promise<void> =>
      new Promise((done) => {
        if (mine !== this.#incarnation) return;
        if (this.#held) this.#pending.push({ apply, done });
        else {
          apply();
          done();
        }
      });
    const trust: TrustStore = {
      read: async () => (this.#trust === undefined ? undefined : JSON.parse(this.#trust)),
      write: (value, expected) => {
        const text = JSON.stringify(value);
        const how = this.#failing;
        this.#failing = undefined;
        let outcome: number | MeshrootError = new MeshrootError("MR2002", "EIO", "");
        const written = write(() => {
          const before = this.#revision();
          if (before !== expected) {
            outcome = new MeshrootError("MR2021", `revision ${before}, not ${expected}`, "");
            return;
          }
          this.#tried = Math.max(before ?? 0, this.#tried) + 1;
          if (how === "early") return;
          this.#trust = `{"revision":${this.#tried},"value":${text}}`;
          this.generation = (value as Partial<TrustDocument>).trust?.generation ?? 0;
          if (how === undefined) outcome = this.#tried;
        });
        return written.then(() => (typeof outcome === "number" ? outcome : Promise.reject(outcome)));
      },
    };
    const evidence: EvidenceStore = {
      read: async () => new Map([...this.#rows].map(([key, text]) => [key, JSON.parse(text)])),
      write: (rows) => {
        const texts = rows.map(({ key, value }) => ({ key, text: value === null ? undefined : JSON.stringify(value) }));
        return write(() => {
          for (const { key, text } of texts) {
            if (text === undefined) this.#rows.delete(key);
            else this.#rows.set(key, text);
          }
        });
      },
    };
    return { trust, evidence };
  }

  #revision(): number | undefined {
    return this.#trust === undefined ? undefined : (JSON.parse(this.#trust) as Stored).revision;
  }
}
