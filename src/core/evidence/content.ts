/** What a secret means, apart from the bytes that carry it (evidence.md, "Words"). */

import type { RootId } from "../roots/trust.ts";

/** `leaf` and `bundle` secure the mesh; `xdsLeaf` and `xdsBundle` secure the connection to us and open no mesh gate. */
export type SecretKind = "leaf" | "bundle" | "xdsLeaf" | "xdsBundle";

export type LeafContent = {
  readonly kind: "leaf" | "xdsLeaf";
  /** SHA-256 of the leaf certificate (E1). */
  readonly version: string;
  readonly root: RootId;
  /** Milliseconds since the epoch, as `notAfter`. Undefined in what an earlier version stored. */
  readonly notBefore?: number;
  readonly notAfter: number;
};

export type BundleContent = {
  readonly kind: "bundle" | "xdsBundle";
  /** `<generation>-<12 hex of the content's hash>` (E1). */
  readonly version: string;
  readonly roots: readonly RootId[];
};

export type Content = LeafContent | BundleContent;

/** The version and the root of what a client runs and the ledger does not know (E13). */
const UNKNOWN = "unknown";

/** It may be anything: a bundle that holds no root, or a leaf under any, valid until `notAfter` at the latest. */
export function unknownContent(kind: SecretKind, notAfter: number): Content {
  return kind === "leaf" || kind === "xdsLeaf"
    ? { kind, version: UNKNOWN, root: UNKNOWN, notAfter }
    : { kind, version: UNKNOWN, roots: [] };
}

export function isUnknown({ version }: Content): boolean {
  return version === UNKNOWN;
}

/** As far as is known: what is unknown may be under any root. */
export function mayBeUnder(leaf: LeafContent, root: RootId): boolean {
  return leaf.root === root || isUnknown(leaf);
}

export function isLeaf(content: Content): content is LeafContent {
  return content.kind === "leaf" || content.kind === "xdsLeaf";
}
