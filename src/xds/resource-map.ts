/**
 * A source that serves what it was told to: the same resources to every client, from memory. Until the first `set` there are
 * none, and who asks for all is told so. For types that refer to each other see `resourceSet`.
 */

import type { ResourceSession, ResourceSource } from "./source.ts";
import type { Packing } from "./subscription-state.ts";
import { tellAll } from "./tell-all.ts";
import { encodeAny } from "./wire.ts";

export type Resource = {
  /** Names the content: the same content has the same version, another content another one (R12). */
  readonly version: string;
  /** The message in protobuf's encoding, without its `google.protobuf.Any`. */
  readonly value: Buffer;
};

export type ResourceMapOptions = {
  /** `type.googleapis.com/` and the name of the message. */
  readonly typeUrl: string;
  /** Default `changed`; clusters and listeners need `full`. */
  readonly packing?: Packing;
  /** Default false; clusters and listeners are asked for by nothing but the wildcard. */
  readonly wildcard?: boolean;
};

export type ResourceMap = ResourceSource<unknown> & {
  /** Replaces everything in one step; streams are told after it. Resources that are missing are gone. */
  set(resources: ReadonlyMap<string, Resource>): void;
};

export function resourceMap({ typeUrl, packing = "changed", wildcard = false }: ResourceMapOptions): ResourceMap {
  let resources: ReadonlyMap<string, Resource> = new Map();
  const listeners = new Set<() => void>();

  const open = (changed: () => void): ResourceSession => {
    listeners.add(changed);
    return {
      asked: () => undefined,
      all: () => resources.keys(),
      offer: (name, has) => {
        const version = resources.get(name)?.version;
        if (version === undefined) return "absent";
        // R57: what a delta client says that it holds is not sent again.
        return version === has ? { version, kept: "delta" } : { version };
      },
      resumed: () => undefined,
      sending: (_nonce, items) => ({
        resources: items.map(({ name }) => encodeAny(typeUrl, resources.get(name)?.value ?? Buffer.alloc(0))),
        recorded: Promise.resolve(),
      }),
      verdict: () => undefined,
      close: () => void listeners.delete(changed),
    };
  };
  return {
    typeUrl,
    packing,
    wildcard,
    open: (_client, changed) => open(changed),
    set: (next) => {
      resources = next;
      tellAll([...listeners]);
    },
  };
}
