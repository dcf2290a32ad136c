/**
 * Which sets of roots and which edits are allowed (those of the validator of OSM v1.3, and our own). Each rule
 * is one small function named as the sentence that it stands for; the lists below recite them in order of checking. A
 * rule returns the problem, or undefined where it holds. Nothing here changes its arguments.
 */

import { canonicalJson } from "../canonical-json.ts";
import type { Problem } from "../errors.ts";
import { isInUse, type MeshRoot, rootKey } from "./mesh-root.ts";

type SetRule = (roots: readonly MeshRoot[], controlNamespace: string) => Problem | undefined;
type CreateRule = (existing: readonly MeshRoot[], created: MeshRoot) => Problem | undefined;
type UpdateRule = (before: MeshRoot, after: MeshRoot) => Problem | undefined;

const SET_RULES: readonly SetRule[] = [
  rootsOutsideTheControlNamespaceAreInactive,
  atMostTwoRootsAreInUse,
  atMostOneRootIsPassive,
  atLeastOneRootIsActive,
];

const CREATE_RULES: readonly CreateRule[] = [
  itsNameIsNew,
  itsAuthorityIsItsOwn,
  anActiveRootIsCreatedOnlyWhereThereIsNone,
];

const UPDATE_RULES: readonly UpdateRule[] = [onlyTheRoleChanges, activeAndInactiveAreTwoStepsApart];

/** Whether these roots may stand together (MR1007). Roots outside `controlNamespace` are never used by the mesh. */
export function checkSet(roots: readonly MeshRoot[], controlNamespace: string): Problem | undefined {
  return first(SET_RULES, (rule) => rule(roots, controlNamespace));
}

/**
 * Whether `created` may be added to `existing`: MR1010 name taken, MR1007 the set would not be allowed. An inactive root
 * with a name and an authority of its own may always be added.
 */
export function checkCreate(
  existing: readonly MeshRoot[],
  created: MeshRoot,
  controlNamespace: string,
): Problem | undefined {
  return (
    first(CREATE_RULES, (rule) => rule(existing, created)) ??
    (isInUse(created) ? checkSet([...existing, created], controlNamespace) : undefined)
  );
}

/**
 * Whether `before`, one of `existing`, may become `after`: MR1009 it is not there, MR1005 more than the role changes,
 * MR1006 the role skips a step, MR1007 the set would not be allowed. An update that keeps the role passes whatever the
 * set is, so that a note or an annotation can be edited while the set is being repaired.
 */
export function checkUpdate(
  existing: readonly MeshRoot[],
  before: MeshRoot,
  after: MeshRoot,
  controlNamespace: string,
): Problem | undefined {
  const others = existing.filter((root) => rootKey(root) !== rootKey(before));
  return (
    itExists(existing, before) ??
    first(UPDATE_RULES, (rule) => rule(before, after)) ??
    (before.role === after.role ? undefined : checkSet([...others, after], controlNamespace))
  );
}

/** Whether `root`, one of `existing`, may be removed: MR1009 it is not there, MR1008 the mesh uses it. */
export function checkDelete(
  existing: readonly MeshRoot[],
  root: MeshRoot,
  controlNamespace: string,
): Problem | undefined {
  return itExists(existing, root) ?? (root.namespace === controlNamespace ? itIsInactive(root) : undefined);
}

function rootsOutsideTheControlNamespaceAreInactive(
  roots: readonly MeshRoot[],
  controlNamespace: string,
): Problem | undefined {
  const outside = roots.find((root) => isInUse(root) && root.namespace !== controlNamespace);
  return outside === undefined
    ? undefined
    : notAllowed(
        `${outside.role} root ${rootKey(outside)} is outside the control namespace ${controlNamespace}`,
        `Create it in ${controlNamespace}, or leave its role at inactive.`,
      );
}

function atMostTwoRootsAreInUse(roots: readonly MeshRoot[]): Problem | undefined {
  const used = roots.filter(isInUse);
  return used.length <= 2
    ? undefined
    : notAllowed(
        `${used.length} roots would be in use: ${names(used)}`,
        "Finish the rotation that is under way first: make its old root passive, then inactive.",
      );
}

function atMostOneRootIsPassive(roots: readonly MeshRoot[]): Problem | undefined {
  const passive = roots.filter((root) => root.role === "passive");
  return passive.length <= 1
    ? undefined
    : notAllowed(
        `${passive.length} roots would be passive and none would sign: ${names(passive)}`,
        "Make one of them active first.",
      );
}

function atLeastOneRootIsActive(roots: readonly MeshRoot[]): Problem | undefined {
  if (roots.some((root) => root.role === "active")) return undefined;
  const passive = roots.filter((root) => root.role === "passive");
  return notAllowed(
    passive.length === 0 ? "no root would be active" : `${names(passive)} would be passive alone: no root would sign`,
    "Keep or make a root active: the active one signs every certificate of the mesh.",
  );
}

function itsNameIsNew(existing: readonly MeshRoot[], created: MeshRoot): Problem | undefined {
  return existing.some((root) => rootKey(root) === rootKey(created))
    ? {
        code: "MR1010",
        message: `root ${created.name} already exists`,
        hint: "Choose another name; of an existing root only the role can change (`meshroot root set-role`).",
      }
    : undefined;
}

/** Deleting a root destroys its CA's key, so two roots that share a secret would pull the key from under each other. */
function itsAuthorityIsItsOwn(existing: readonly MeshRoot[], created: MeshRoot): Problem | undefined {
  const { provider } = created;
  if (provider.kind !== "tresor") return undefined;
  const { name, namespace } = provider.secretRef;
  const owner = existing.find(
    ({ provider: other }) =>
      other.kind === "tresor" && other.secretRef.name === name && other.secretRef.namespace === namespace,
  );
  return owner === undefined
    ? undefined
    : notAllowed(
        `root ${owner.name} already keeps its certificate authority in secret ${namespace}/${name}`,
        "Give the new root a secret name of its own: the same secret is the same root certificate.",
      );
}

/** Two active roots are step 3, which is reached from step 2: a root that nobody trusts yet must not sign. */
function anActiveRootIsCreatedOnlyWhereThereIsNone(
  existing: readonly MeshRoot[],
  created: MeshRoot,
): Problem | undefined {
  const active = existing.find((root) => root.role === "active" && root.namespace === created.namespace);
  return created.role !== "active" || active === undefined
    ? undefined
    : notAllowed(
        `root ${created.name} can't begin as active while ${active.name} is active`,
        "Create it as passive; make it active once every proxy trusts it.",
      );
}

function onlyTheRoleChanges(before: MeshRoot, after: MeshRoot): Problem | undefined {
  const changed = (["name", "namespace", "trustDomain", "spiffeEnabled", "provider"] as const).filter(
    (field) => canonicalJson(before[field]) !== canonicalJson(after[field]),
  );
  return changed.length === 0
    ? undefined
    : {
        code: "MR1005",
        message: `root ${before.name}: ${changed.join(", ")} can't change after creation, only role can`,
        hint: "Put the old value back; for another value create a new root and rotate to it.",
      };
}

function activeAndInactiveAreTwoStepsApart(before: MeshRoot, after: MeshRoot): Problem | undefined {
  return before.role !== after.role && before.role !== "passive" && after.role !== "passive"
    ? {
        code: "MR1006",
        message: `root ${before.name} can't go from ${before.role} to ${after.role} in one step`,
        hint: `Make it passive first: \`meshroot root set-role ${before.name} passive\`.`,
      }
    : undefined;
}

function itExists(existing: readonly MeshRoot[], root: MeshRoot): Problem | undefined {
  return existing.some((other) => rootKey(other) === rootKey(root))
    ? undefined
    : { code: "MR1009", message: `no root ${root.name}`, hint: "See `meshroot root list` for the roots there are." };
}

function itIsInactive(root: MeshRoot): Problem | undefined {
  return isInUse(root)
    ? {
        code: "MR1008",
        message: `root ${root.name} is ${root.role}: the mesh uses it`,
        hint:
          root.role === "passive"
            ? `Make it inactive first: \`meshroot root set-role ${root.name} inactive\`.`
            : "Rotate to another root first; an inactive root can be deleted.",
      }
    : undefined;
}

function first<Rule>(rules: readonly Rule[], check: (rule: Rule) => Problem | undefined): Problem | undefined {
  for (const rule of rules) {
    const problem = check(rule);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function notAllowed(message: string, hint: string): Problem {
  return { code: "MR1007", message, hint };
}

function names(roots: readonly MeshRoot[]): string {
  return roots.map((root) => root.name).join(", ");
}
