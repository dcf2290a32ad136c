/**
 * Proxies that live although their row has left the ledger (E13): what may be asked of the mesh until they have said again what they
 * run, and what may not.
 */

import { isUnknown } from "../../../src/core/evidence/content.ts";
import { syncState } from "../../../src/core/evidence/ledger-queries.ts";
import type { Line, ProxyRow } from "../../../src/core/evidence/ledger-state.ts";
import { XDS_BUNDLE, XDS_LEAF } from "../../../src/core/evidence/secret-names.ts";
import type { Complain } from "./checks.ts";
import { CONNECT_TIMEOUT_MS } from "./envoy.ts";
import type { MeshProxy } from "./proxy.ts";
import type { World } from "./world.ts";

/** E13: without an operator's word only he leaves the ledger whose leaf and credentials have all expired. */
export function checkRetired({ now }: World, proxy: MeshProxy, complain: Complain): void {
  const { agentLost, envoy, folder, index } = proxy;
  if (envoy.stored.size === 0 && (agentLost || folder.disk.versions.size === 0)) return;
  const credentials = agentLost ? [] : [folder.disk, folder.loaded].flatMap((held) => held?.leaf ?? []);
  const valid = [...storedLeaves(proxy), ...credentials].find(({ notAfter }) => notAfter > now);
  if (valid !== undefined) complain("nobody retires who may take part (E13)", `proxy ${index} has ${valid.version}`);
  lose(proxy, false);
}

function storedLeaves({ envoy }: MeshProxy) {
  return [...envoy.stored.values()].flatMap(({ content }) => (content.kind === "leaf" ? [content] : []));
}

export function mayHoldAnything(lines: readonly Line[]): boolean {
  return lines.some(({ entries }) => entries.some(({ content }) => isUnknown(content)));
}

/** A gate has opened without those of whom an operator said, wrongly, that they are gone. */
export function noteDoubts({ proxies }: World): void {
  for (const proxy of proxies) if (proxy.lost?.wrongly) proxy.doubtedUntil = Number.POSITIVE_INFINITY;
}

/** E13: a row has left the ledger, or its process has come back and counts again; what is decided from now on sees it. */
export function noteLoss({ now, server }: World, proxy: MeshProxy, row: ProxyRow | undefined): void {
  if (server === undefined) return;
  const { uuid } = proxy.identity;
  const isSynced =
    row !== undefined && syncState(row, (name, consumer) => server.secrets.wanted(uuid, name, consumer)) === "SYNCED";
  const { stored } = proxy.envoy;
  // Who had no leaf may come back by asking for one: a request that reports nothing, as that of a new process (E13).
  const isNamed = !proxy.lost?.wrongly || [...stored.keys()].every((name) => row?.slots.has(`envoy|${name}`));
  const hasSaid = proxy.cameBack || (isSynced && isNamed) || stored.size === 0;
  if (proxy.lost !== undefined && row !== undefined && hasSaid) proxy.lost = undefined;
  const slots = [XDS_BUNDLE, XDS_LEAF].map((name) => row?.slots.get(`agent|${name}`));
  if (slots.every((slot) => slot?.acked !== undefined)) proxy.agentLost = false;
  if (proxy.doubtedUntil < Number.POSITIVE_INFINITY || proxy.lost !== undefined) return;
  // A leaf that waits for its bundle will be presented as well.
  const presented = [...proxy.envoy.contexts.values()].flat().map(({ leaf }) => leaf);
  const isOut = [...presented, ...storedLeaves(proxy)].every(({ notAfter }) => notAfter <= now);
  if (isSynced || isOut) proxy.doubtedUntil = now + CONNECT_TIMEOUT_MS;
}

/** All that the ledger knew of it has left. */
export function lose(proxy: MeshProxy, wrongly: boolean): void {
  proxy.lost = { wrongly };
  proxy.cameBack = false;
  proxy.agentLost = true;
}
