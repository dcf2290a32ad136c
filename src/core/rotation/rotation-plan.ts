/**
 * The decision. `planRotation` compares what the roles ask for with what is in force and takes the next safe change, if
 * there is one: first trust grows, then the signer moves, then a root leaves. No phase variable: the plan follows from
 * roles, ledger, trust in force and time, so that any crash or role edit resumes it from where it stands.
 */

import type { Problem } from "../errors.ts";
import {
  type DesiredTrust,
  desiredSigner,
  type RootId,
  rootOf,
  type TrustedRoot,
  type TrustInForce,
  withRoots,
} from "../roots/trust.ts";
import {
  BUNDLE_RULES,
  firstBlocked,
  type GateInput,
  SIGNER_RULES,
  toHold,
  XDS_CLIENT_RULES,
  XDS_SERVER_RULES,
} from "./gates.ts";
import type { Gate, Hold } from "./holds.ts";

export type PlanInput = GateInput & {
  readonly desired: DesiredTrust;
  /** Why the roles as they stand can't be followed; the last good trust stays in force. */
  readonly problem?: Problem | undefined;
  /** Since when each gate's conditions have held without a break (E11): the `gates` of the previous plan. */
  readonly gates: GateClock;
  /** The operator's reason for passing the gates unproven, if one was given. Loud and audited. */
  readonly override?: string | undefined;
};

/** A root that is kept until it expires must not take our own certificate with it. */
const LAST_DAY_MS = 24 * 3_600_000;

export type GateClock = Readonly<Record<string, number>>;

export type Change = {
  readonly kind: "trust" | "signer" | "distrust" | "xdsServer" | "xdsDistrust";
  readonly root: string;
  readonly forced?: string;
};

export type Plan = {
  /** What to put in force: persist it, then publish it. The same object as before when nothing changes. */
  readonly trust: TrustInForce;
  readonly change?: Change;
  readonly holds: readonly Hold[];
  readonly gates: GateClock;
};

export function planRotation(input: PlanInput): Plan {
  const { trust, desired } = input;
  if (input.problem !== undefined) return unchanged(trust, [rolesHold(input.problem)], {});
  const added = desired.validators.filter((root) => !trust.mesh.includes(root.id));
  if (added.length > 0) return grown(trust, added);

  const gates: Record<string, number> = {};
  const holds: Hold[] = [];
  /** True when the change may be made now; else its hold is noted. */
  const open = (gate: Gate, rules: typeof SIGNER_RULES, wants: string, root: RootId): boolean => {
    const name = rootOf(trust, root).name;
    if (input.override !== undefined) return true;
    const blocked = firstBlocked(rules, input, root);
    if (blocked !== undefined) {
      holds.push(toHold(gate, wants, name, blocked));
      return false;
    }
    const key = `${gate} ${root}`;
    // A clock that was set back begins anew, instead of waiting until it gets to where it was.
    const since = Math.min(input.gates[key] ?? input.now, input.now);
    const until = since + input.settings.settleMs;
    gates[key] = since;
    if (input.ledger.proxies.size === 0 || input.now >= until) return true;
    const message = "connections begun before the last ACK may still finish with what was loaded before";
    holds.push({ gate, wants, root: name, reason: "Settling", message, waitingFor: [], until });
    return false;
  };
  const take = (kind: Change["kind"], root: TrustedRoot, next: Partial<TrustInForce>): Plan => ({
    trust: withRoots({ ...trust, ...next, generation: trust.generation + 1 }, []),
    change: { kind, root: root.name, ...(input.override === undefined ? {} : { forced: input.override }) },
    holds,
    gates,
  });

  const signer = desiredSigner(desired, trust.signer);
  if (signer === undefined) {
    holds.push(missingSigner(trust));
  } else if (signer.id !== trust.signer && open("signer", SIGNER_RULES, `sign with ${signer.name}`, signer.id)) {
    return take("signer", signer, { signer: signer.id });
  }

  const wanted = new Set(desired.validators.map((root) => root.id));
  for (const id of trust.mesh) {
    if (wanted.has(id) || id === trust.signer) continue;
    const root = rootOf(trust, id);
    if (open("bundle", BUNDLE_RULES, `stop trusting ${root.name}`, id)) {
      return take("distrust", root, { mesh: trust.mesh.filter((other) => other !== id) });
    }
  }

  // Not before its root is to leave: a bootstrap of before the rotation holds no other, and is good for as long as that root is.
  const served = rootOf(trust, trust.xdsServer);
  if (served.id !== trust.signer && (!wanted.has(served.id) || input.now >= served.notAfter - LAST_DAY_MS)) {
    const root = rootOf(trust, trust.signer);
    if (open("xdsControlPlane", XDS_SERVER_RULES, `serve xDS under ${root.name}`, root.id))
      return take("xdsServer", root, { xdsServer: root.id });
  }
  for (const id of trust.xds) {
    if (trust.mesh.includes(id) || id === trust.xdsServer) continue;
    const root = rootOf(trust, id);
    if (open("bootstrap", XDS_CLIENT_RULES, `stop accepting xDS clients under ${root.name}`, id)) {
      return take("xdsDistrust", root, { xds: trust.xds.filter((other) => other !== id) });
    }
  }
  return unchanged(trust, holds, gates);
}

function unchanged(trust: TrustInForce, holds: readonly Hold[], gates: GateClock): Plan {
  return { trust, holds, gates };
}

/** Trust may always grow: a proxy that trusts one root more fails no connection. */
function grown(trust: TrustInForce, added: readonly TrustedRoot[]): Plan {
  const ids = added.map((root) => root.id);
  const next: TrustInForce = {
    ...trust,
    generation: trust.generation + 1,
    mesh: [...trust.mesh, ...ids],
    xds: [...trust.xds, ...ids.filter((id) => !trust.xds.includes(id))],
  };
  return {
    trust: withRoots(next, added),
    change: { kind: "trust", root: added.map((root) => root.name).join(", ") },
    holds: [],
    gates: {},
  };
}

/** The roles can't be followed as they stand. */
export function rolesHold(problem: Problem): Hold {
  const message = `${problem.code} ${problem.message}; the last good trust stays in force: ${problem.hint}`;
  return { gate: "roles", wants: "follow the roles", root: "", reason: "RolesNotAllowed", message, waitingFor: [] };
}

function missingSigner(trust: TrustInForce): Hold {
  const message = `no active root can sign; ${rootOf(trust, trust.signer).name} stays the signer`;
  return {
    gate: "roles",
    wants: "sign with an active root",
    root: "",
    reason: "SignerMissing",
    message,
    waitingFor: [],
  };
}

/** The earliest time at which a plan may change although nothing happens; undefined: never. */
export function wakeAt(plan: Plan, now: number): number | undefined {
  const times = plan.holds.flatMap((hold) =>
    [hold.until ?? [], hold.waitingFor.map((one) => one.countsUntil ?? [])].flat(2),
  );
  const first = times.reduce((found, time) => (time > now ? Math.min(found, time) : found), Number.POSITIVE_INFINITY);
  return first === Number.POSITIVE_INFINITY ? undefined : first;
}
