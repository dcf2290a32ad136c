/** The step table of the seed document: where a rotation stands, read from the roles alone. */

import { isInUse, type MeshRoot, type Role } from "../roots/mesh-root.ts";

/** One row of the table. `old` and `new` are names of roots. */
export type RotationStep = {
  /** Row of the table in README.md, 1 to 6; undefined where the roots match no row. Row 6 looks like row 1: see `stepOf`. */
  readonly step: number | undefined;
  readonly old: { readonly name: string; readonly role: Role } | undefined;
  readonly new: { readonly name: string; readonly role: Role } | undefined;
  readonly signs: readonly string[];
  readonly validates: readonly string[];
};

const STEPS: Readonly<Record<string, number>> = {
  "active ": 1,
  "active passive": 2,
  "active active": 3,
  "passive active": 4,
  "inactive active": 5,
};

/**
 * The row that these roots (those of the control namespace) stand in. Of two roots the older by creation, then by name,
 * is the old one; with one in use, the youngest inactive root from before it is. A single root is row 1 as well as 6:
 * roles don't remember a deleted root, and what comes next is the same.
 */
export function stepOf(roots: readonly MeshRoot[]): RotationStep {
  const byAge = [...roots].sort((a, b) => a.createdAt - b.createdAt || (a.name < b.name ? -1 : 1));
  const used = byAge.filter(isInUse);
  const signers = used.filter((root) => root.role === "active");
  const [first, second] = used;
  const predecessor = first === undefined ? undefined : byAge.slice(0, byAge.indexOf(first)).at(-1);
  const [older, newer] = used.length === 1 && predecessor !== undefined ? [predecessor, first] : [first, second];
  const step = used.length <= 2 ? STEPS[`${older?.role ?? ""} ${newer?.role ?? ""}`] : undefined;
  return {
    step,
    old: older === undefined ? undefined : { name: older.name, role: older.role },
    new: newer === undefined ? undefined : { name: newer.name, role: newer.role },
    signs: signers.map((root) => root.name),
    validates: used.map((root) => root.name),
  };
}
