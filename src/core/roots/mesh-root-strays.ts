/**
 * Fields that people write where an MRC has them not, and values of `role` that it does not know: what OSM's own pull requests
 * and drafts called them, and fields one level too high.
 */

import { isObject, type Stray } from "../object-reader.ts";
import { closest } from "../suggest.ts";
import { ROLES, type Role } from "./mesh-root.ts";

/** OSM's names of `role` before v1.3; `intent` stood at the top level first, and under spec later. */
const NAMES_OF_ROLE = ["intent", "role", "rotationstage", "stage", "state", "usage", "mode"];

/** Words for a role, in the drafts and in other meshes. */
const WORDS: Readonly<Record<string, Role>> = {
  issuing: "active",
  signing: "active",
  issuingrollout: "active",
  complete: "active",
  primary: "active",
  activated: "active",
  validating: "passive",
  validatingrollout: "passive",
  secondary: "passive",
  passivated: "passive",
  deactive: "inactive",
  deactivate: "inactive",
  deactivated: "inactive",
  disabled: "inactive",
  retired: "inactive",
  unused: "inactive",
  inactivate: "inactive",
};

const SPEC_FIELDS = ["role", "trustDomain", "spiffeEnabled", "provider"];
const PROVIDERS = ["tresor", "vault", "certManager"];

/** Of the whole object: what belongs under spec or metadata. `hasSpecRole`: there it stands already. */
export function strayAtTop(hasSpecRole: boolean): (field: string, content: unknown) => Stray | undefined {
  return (field, content) => {
    const asRole = field === "spec" ? undefined : roleHint(field, content, hasSpecRole);
    if (asRole !== undefined) return { hint: asRole };
    if (SPEC_FIELDS.includes(field)) return { hint: `Move \`${field}\` under spec.` };
    if (PROVIDERS.includes(field)) return { hint: `Move \`${field}\` under spec, into provider.` };
    if (["name", "namespace", "labels", "annotations"].includes(field))
      return { hint: `Move \`${field}\` under metadata.` };
    return undefined;
  };
}

/** Of `spec`. */
export function strayInSpec(hasRole: boolean): (field: string, content: unknown) => Stray | undefined {
  return (field, content) => {
    const asRole = roleHint(field, content, hasRole);
    if (asRole !== undefined) return { meant: "role", hint: asRole };
    if (PROVIDERS.includes(field))
      return { meant: "provider", hint: `Move \`${field}\` into provider: \`provider: {${field}: …}\`.` };
    return undefined;
  };
}

/** Whether `spec` of this object says a role, by its right name. */
export function saysRole(spec: unknown): boolean {
  return isObject(spec) && spec.role !== undefined && spec.role !== null;
}

/** Whether a stray field of the object, or of its spec, says the role: then it is not missing as well. */
export function saysRoleElsewhere(whole: unknown): boolean {
  return isObject(whole) && Object.keys(whole).some((field) => NAMES_OF_ROLE.includes(plain(field)));
}

function roleHint(field: string, content: unknown, hasRole: boolean): string | undefined {
  const name = plain(field);
  if (!NAMES_OF_ROLE.includes(name)) return undefined;
  const osm = name === "intent" ? " OSM called it intent for a while." : "";
  if (hasRole) return `Remove \`${field}\`: \`role\` under spec says it.${osm}`;
  const role = roleOf(content);
  return `Write \`role: ${role ?? ROLES.join(" | ")}\` under spec.${osm}`;
}

/** The role that a word stands for; undefined for one that could be any. */
export function roleOf(word: unknown): Role | undefined {
  if (typeof word !== "string") return undefined;
  const text = plain(word);
  const exact = ROLES.find((role) => role === text) ?? WORDS[text];
  return exact ?? (closest(text, ROLES) as Role | undefined);
}

/** Without capitals, separators, a pasted comma, and the `Intent` of Go's constants (`ActiveIntent`). */
function plain(text: string): string {
  const word = text
    .trim()
    .toLowerCase()
    .replace(/[-_\s]|,$/g, "");
  return word.replace(/(?<=.)(?:intent|role)$/, "");
}
