/** Roots that the mesh relies on and can't use now: what is wrong with each, as holds that people see. */

import type { Problem } from "../core/errors.ts";
import type { MeshRoot } from "../core/roots/mesh-root.ts";
import { rootOf, type TrustedRoot, type TrustInForce } from "../core/roots/trust.ts";
import type { Hold } from "../core/rotation/holds.ts";
import type { AuthoritySnapshot } from "./authority-snapshot.ts";

/**
 * Every root that can be trusted, by name: those whose authority is loaded, and those in the bundle. A root whose CA key is lost
 * goes on to validate, because its certificate is on record; only signing needs the key. One that has left the bundle is new.
 */
export function trustableRoots(authorities: AuthoritySnapshot, trust: TrustInForce): ReadonlyMap<string, TrustedRoot> {
  const onRecord = trust.mesh.map((id) => rootOf(trust, id)).map((root) => [root.name, root] as const);
  const inForce = new Set(trust.mesh);
  // What is new has to have shown that it carries the mesh as it is by now.
  const loaded = [...authorities.trusted].filter(([name, { id }]) => inForce.has(id) || authorities.isTried(name));
  return new Map([...onRecord, ...loaded]);
}

/** What keeps the roles from being followed at all: a root in use that was edited, or that nobody knows yet. */
export function unusableRoot(
  authorities: AuthoritySnapshot,
  trust: TrustInForce,
  roots: readonly MeshRoot[],
): Problem | undefined {
  const trustable = trustableRoots(authorities, trust);
  return roots
    .filter((root) => root.role !== "inactive")
    .map(({ name }) => ({ name, problem: authorities.refusal(name) }))
    .find(({ name, problem }) => problem !== undefined && (problem.code === "MR1005" || !trustable.has(name)))?.problem;
}

/**
 * A hold for the signer when it can't sign, for each other root in use whose authority could not be had, and for each in force
 * that could not carry this mesh as it is now.
 */
export function availabilityHolds(
  authorities: AuthoritySnapshot,
  trust: TrustInForce,
  roots: readonly MeshRoot[],
  now: number,
): Hold[] {
  const signer = rootOf(trust, trust.signer);
  const signing = authorities.signingProblem(signer, now) ?? authorities.ailment(signer.id);
  const holds: Hold[] = [];
  if (signing !== undefined) {
    const consequence = "no leaf is issued or renewed, proxies keep theirs until it expires";
    holds.push(hold("SignerMissing", signer.name, `sign with ${signer.name}`, signing, consequence));
  }
  for (const root of roots) {
    const { name, role } = root;
    holds.push(...unfitHolds(authorities, trust, root, now));
    const problem = authorities.problem(name);
    if (problem === undefined || role === "inactive" || name === signer.name || problem.code === "MR1005") continue;
    if (trustableRoots(authorities, trust).has(name))
      holds.push(hold("RootNotAvailable", name, `use ${name}`, problem, "it validates on, but can't sign"));
  }
  return holds;
}

/** A root that validates harms nobody by what it can't carry; the signer is asked for certificates all the time. */
function unfitHolds(authorities: AuthoritySnapshot, trust: TrustInForce, root: MeshRoot, now: number): Hold[] {
  const record = authorities.trusted.get(root.name);
  if (record === undefined || root.role === "inactive" || !trust.mesh.includes(record.id)) return [];
  const isSigner = record.id === trust.signer;
  const wantsToSign = !isSigner && root.role === "active";
  const unfit = authorities.unfit(record.id);
  const problem = unfit ?? (wantsToSign ? authorities.unfitToSign(record, root, now) : undefined);
  if (problem === undefined) return [];
  const wants = wantsToSign ? `sign with ${root.name}` : `carry the mesh with ${root.name}`;
  const consequence = isSigner ? "no certificate is issued for it" : "it validates, but does not become the signer";
  return [hold("RootUnfit", root.name, wants, problem, consequence)];
}

function hold(
  reason: "SignerMissing" | "RootNotAvailable" | "RootUnfit",
  root: string,
  wants: string,
  { code, message, hint }: Problem,
  consequence: string,
): Hold {
  return { gate: "roles", wants, root, reason, message: `${code} ${message}; ${consequence}. ${hint}`, waitingFor: [] };
}
