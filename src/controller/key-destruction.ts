/** The keys of deleted MRCs: destroyed in the background, each until it is done. */

import type { ProviderSpec } from "../core/roots/mesh-root.ts";
import type { Clock } from "../ports/clock.ts";
import type { Log } from "../ports/log.ts";
import type { Custody } from "../ports/provider.ts";
import { problemOf } from "./provider-calls.ts";

const RETRY_MS = 5_000;

type State =
  | { readonly kind: "under way" }
  | { readonly kind: "failed"; readonly at: number }
  | { readonly kind: "done" };

export class KeyDestruction {
  readonly #deps: { readonly clock: Clock; readonly log: Log; readonly done: () => void };
  readonly #states = new Map<string, State>();

  /** `done` is called when another key is destroyed. */
  constructor(deps: { readonly clock: Clock; readonly log: Log; readonly done: () => void }) {
    this.#deps = deps;
  }

  /** Begins, or looks how it stands, as often as it is asked. True when it is done, once. */
  of(name: string, spec: ProviderSpec, custody: Custody | undefined): boolean {
    const state = this.#states.get(name);
    if (state?.kind === "done") return this.#states.delete(name);
    if (state?.kind === "under way") return false;
    if (state?.kind === "failed" && Math.abs(this.#deps.clock.now() - state.at) < RETRY_MS) return false;
    this.#states.set(name, { kind: "under way" });
    Promise.resolve(custody?.destroy(spec)).then(
      () => {
        this.#states.set(name, { kind: "done" });
        this.#deps.done();
      },
      (error: unknown) => this.#failed(name, error),
    );
    return false;
  }

  /** For a name that is back: true, once, if its key went all the same. What has not begun, or failed, is left off. */
  isOver(name: string): boolean {
    const kind = this.#states.get(name)?.kind;
    return kind !== undefined && kind !== "under way" && this.#states.delete(name) && kind === "done";
  }

  /** It is in use again, or by another name. */
  forget(name: string): void {
    this.#states.delete(name);
  }

  #failed(name: string, error: unknown): void {
    const { clock, log } = this.#deps;
    this.#states.set(name, { kind: "failed", at: clock.now() });
    const { code, message, hint } = problemOf(error, `root ${name}`);
    const fields = { component: "provider", root: name, code, hint };
    log.error(fields, `${code} root ${name} was deleted, and its key is still there: ${message}`);
  }
}
