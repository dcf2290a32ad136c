/** Who may begin a stream or a fetch: asked before anything is made for it (R76). */

import type { X509Certificate } from "node:crypto";
import { status } from "@grpc/grpc-js";
import { tokenBucket } from "../core/token-bucket.ts";
import { type CallError, callError } from "./call-error.ts";

export type AdmissionDeps<Identity> = {
  /** Of the connection from this address; undefined: it is being closed. */
  readonly certificateAt: (remote: string) => X509Certificate | undefined;
  /** Throws to refuse it. */
  readonly identify: (certificate: X509Certificate) => Identity;
  readonly streamsPerSecond: number;
  readonly now: () => number;
};

export type Admitted<Identity> =
  | { readonly kind: "admitted"; readonly identity: Identity }
  | { readonly kind: "refused"; readonly error: CallError };

export class Admission<Identity> {
  readonly #deps: AdmissionDeps<Identity>;
  readonly #bucket: ReturnType<typeof tokenBucket>;
  #isOver = false;

  constructor(deps: AdmissionDeps<Identity>) {
    const { streamsPerSecond } = deps;
    this.#deps = deps;
    this.#bucket = tokenBucket({ burst: 2 * streamsPerSecond, perSecond: streamsPerSecond });
  }

  /** From now on nobody is admitted. */
  end(): void {
    this.#isOver = true;
  }

  /** The certificate is asked again: a connection may outlive it. */
  admit(remote: string): Admitted<Identity> {
    if (this.#isOver) return refused(status.UNAVAILABLE, "the server is shutting down");
    const certificate = this.#deps.certificateAt(remote);
    if (certificate === undefined)
      return refused(status.UNAVAILABLE, "this connection is being closed: come again on a new one");
    if (!this.#bucket.take(this.#deps.now()))
      return refused(status.RESOURCE_EXHAUSTED, "too many new streams at once: come again a little later");
    try {
      return { kind: "admitted", identity: this.#deps.identify(certificate) };
    } catch (error) {
      return refused(status.UNAUTHENTICATED, (error as Error).message);
    }
  }
}

function refused(code: number, details: string): { readonly kind: "refused"; readonly error: CallError } {
  return { kind: "refused", error: callError(code, details) };
}
