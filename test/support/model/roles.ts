/** Edits of roles, as people make them. */

import { type MeshRoot, ROLES } from "../../../src/core/roots/mesh-root.ts";
import { checkCreate, checkDelete, checkUpdate } from "../../../src/core/roots/mesh-root-rules.ts";
import type { World } from "./world.ts";

const NAMESPACE = "osm-system";

export function pick<Value>(list: readonly Value[], number: number): Value | undefined {
  return list[number % Math.max(1, list.length)];
}

/** A role edit that the API would accept: a walk through the step table, forward or back. */
export function legalEdit(world: World, a: number): void {
  const { roots } = world;
  const edits: (() => void)[] = [];
  for (const root of roots) {
    for (const role of ROLES) {
      const after: MeshRoot = { ...root, role };
      if (role === root.role || checkUpdate(roots, root, after, NAMESPACE)) continue;
      edits.push(() => world.setRoots(roots.map((other) => (other === root ? after : other))));
    }
    if (checkDelete(roots, root, NAMESPACE) === undefined)
      edits.push(() => world.setRoots(roots.filter((other) => other !== root)));
  }
  if (roots.length < 4) {
    const passive: MeshRoot = { ...(roots[0] as MeshRoot), name: "probe", role: "passive", provider: PROBE };
    if (roots.length > 0 && checkCreate(roots, passive, NAMESPACE) === undefined)
      edits.push(() => world.addRoot("passive"));
  }
  pick(edits, a)?.();
}

const PROBE = { kind: "tresor", secretRef: { name: "probe", namespace: NAMESPACE } } as const;

/** Straight on to the next row of the step table, so that many histories get through a rotation. */
export function forward(world: World): void {
  const used = world.roots.filter((root) => root.role !== "inactive");
  const [older, newer] = used;
  const become = (root: MeshRoot, role: MeshRoot["role"]) =>
    world.setRoots(world.roots.map((other) => (other === root ? { ...root, role } : other)));
  if (older === undefined) return;
  if (newer === undefined) {
    const gone = world.roots.find((root) => root.role === "inactive");
    if (gone !== undefined) world.setRoots(world.roots.filter((root) => root !== gone));
    else world.addRoot("passive");
  } else if (older.role === "active" && newer.role === "passive") become(newer, "active");
  else if (older.role === "active" && newer.role === "active") become(older, "passive");
  else if (older.role === "passive") become(older, "inactive");
}
