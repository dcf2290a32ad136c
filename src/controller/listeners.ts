/** Those who want to hear of something, in the order in which they came. */

export class Listeners<What = void> {
  readonly #all = new Set<(what: What) => void>();

  /** Returns the way to end it. */
  add(listener: (what: What) => void): () => void {
    this.#all.add(listener);
    return () => this.#all.delete(listener);
  }

  tell(what: What): void {
    for (const listener of this.#all) listener(what);
  }
}
