/** A proxy of the model: an Envoy, how it speaks to us, and the state of its surroundings. */

import type { Consumer } from "../../../src/core/evidence/ledger-state.ts";
import type { ProxyIdentity } from "../../../src/core/identity.ts";
import { CredentialFolder, SimulatedAgent } from "./agent.ts";
import type { Connection, Held } from "./credentials.ts";
import { type ContextShape, type Loaded, OWN, SimulatedEnvoy } from "./envoy.ts";
import type { Link, Variant } from "./link.ts";
import { SERVICE } from "./server.ts";

export type MeshProxy = {
  readonly index: number;
  readonly identity: ProxyIdentity;
  readonly envoy: SimulatedEnvoy;
  readonly variant: Variant;
  readonly ads: boolean;
  /** It opens its streams all at once; others open one after the other. */
  readonly hasty: boolean;
  /** The names that it asks for, in the order in which it asks. */
  readonly order: readonly string[];
  /** How many of them it has come to ask for since its process began. */
  asking: number;
  alive: boolean;
  /** Its network works. */
  online: boolean;
  /** How slow its new streams are. */
  lag: Link["slow"];
  /** It has the outbound cluster at present. */
  outbound: boolean;
  /** What each name was when its meaning was last looked at (E1). */
  readonly named: Map<string, Loaded>;
  readonly folder: CredentialFolder;
  /** Undefined: an operator writes it new bootstraps. */
  readonly agent: SimulatedAgent | undefined;
  /** One open connection per consumer. */
  readonly connections: Map<Consumer, Connection>;
  /** When a consumer that was refused, or sent away again and again, tries again. */
  readonly retryAt: Map<Consumer, number>;
  /** Connections in a row that did not live for a second. */
  readonly shortLived: Map<Consumer, number>;
  /** Credentials that an operator was given for it, on their way into its folder. */
  readonly onTheWay: Held[];
  /** A bootstrap takes its time to get there. */
  slowPost: boolean;
  /**
   * Names that it has refused, as the server knows, and not accepted since (E12). `noted`: all was quiet since then, and nothing
   * on its way to the disk.
   */
  readonly refused: Map<string, { noted: boolean }>;
  /**
   * Its row has left the ledger although it lives, and it has not said since what it runs. `wrongly`: by an operator's word, and not
   * because all that it had has expired.
   */
  lost: { readonly wrongly: boolean } | undefined;
  /** Its Envoy has come back with what it runs, since its row left. */
  cameBack: boolean;
  /** The same of its agent, until what that has in hand was answered again. */
  agentLost: boolean;
  /** Until when requests to and from it may fail, because an operator was wrong and a gate has opened without it (E13). */
  doubtedUntil: number;
};

export const MAX_PROXIES = 5;
export const LEAF = "default";
const AGENTS = ["none", "beside", "beside", "supervises"] as const;
export const OWN_BUNDLE = "ROOTCA";
export const OUTBOUND = `root-cert-for-mtls-outbound:${SERVICE}`;

/**
 * `style`, bit by bit: delta, aggregated, two contexts; then which name it asks for first, and what agent it has. From 224 on
 * its answers are slow.
 * `varied`: the SAN forms of roots differ, so that it takes the bundles that fit that, and some match names by themselves in one
 * context beside the others. `leafOnly`: it has its roots from
 * elsewhere, and no context here.
 */
export function newProxy(options: {
  readonly index: number;
  /** How many proxies came and went before it. */
  readonly generation?: number;
  readonly style: number;
  readonly serviceAccount: string;
  readonly varied: boolean;
  readonly leafOnly: boolean;
  readonly held: Held;
}): MeshProxy {
  const { index, generation = 0, style, serviceAccount, varied, leafOnly, held } = options;
  const folder = new CredentialFolder(held);
  const agent = AGENTS[Math.floor(style / 16) % AGENTS.length];
  const inbound = varied ? "root-cert-for-mtls-inbound" : "ROOTCA";
  const both = varied || Math.floor(style / 4) % 2 === 1;
  const shapes: Record<string, ContextShape> = { inbound: { leaf: LEAF, bundle: inbound } };
  if (both) shapes.outbound = { leaf: LEAF, bundle: OUTBOUND };
  const isOwn = varied && style % 7 === 3;
  if (isOwn) shapes[OWN] = { leaf: LEAF, bundle: OWN_BUNDLE };
  const names = [LEAF, inbound, ...(both ? [OUTBOUND] : []), ...(isOwn ? [OWN_BUNDLE] : [])];
  const turn = Math.floor(style / 8) % names.length;
  return {
    index,
    identity: {
      uuid: `00000000-0000-4000-8000-${String(generation).padStart(11, "0")}${index}`,
      kind: "sidecar",
      serviceAccount,
      namespace: "shop",
      trustDomain: "cluster.local",
    },
    envoy: new SimulatedEnvoy(shapes),
    variant: style % 2 === 0 ? "sotw" : "delta",
    hasty: style % 3 === 0,
    ads: Math.floor(style / 2) % 2 === 1,
    order: leafOnly ? [LEAF] : [...names.slice(turn), ...names.slice(0, turn)],
    asking: 0,
    alive: true,
    online: true,
    lag: style >= 224 ? "answers" : "no",
    outbound: true,
    named: new Map(),
    folder,
    agent: agent === undefined || agent === "none" ? undefined : new SimulatedAgent(folder, agent === "supervises"),
    connections: new Map(),
    retryAt: new Map(),
    shortLived: new Map(),
    onTheWay: [],
    slowPost: false,
    refused: new Map(),
    lost: undefined,
    cameBack: false,
    agentLost: false,
    doubtedUntil: 0,
  };
}
