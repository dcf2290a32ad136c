/** The signing of leaves, which may take its time or fail, as with a CA across a network. */

import { MeshrootError } from "../../../src/core/errors.ts";

export class SlowAuthority {
  #waiting: (() => void)[] = [];
  #mode: "prompt" | "slow" | "failing" = "prompt";

  slow(): void {
    this.#mode = "slow";
  }

  fail(): void {
    this.#mode = "failing";
    this.#answer();
  }

  /** Answers what waits, and is prompt from now on. */
  heal(): void {
    this.#mode = "prompt";
    this.#answer();
  }

  /** Who asked is gone. */
  forgetCallers(): void {
    this.#waiting = [];
  }

  async sign(): Promise<void> {
    if (this.#mode === "slow") await new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (this.#mode === "failing") throw new MeshrootError("MR3004", "the CA does not answer", "Wait.");
  }

  #answer(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
