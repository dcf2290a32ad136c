/** The SAN matchers that an Envoy has, as its `config_dump` shows them. */

import type { EnvoyAdmin } from "../../src/envoy/admin.ts";

type Dump = {
  readonly configs?: readonly {
    readonly name: string;
    readonly secret?: {
      readonly validation_context?: {
        readonly match_typed_subject_alt_names?: readonly {
          readonly san_type: string;
          readonly matcher: { readonly exact?: string };
        }[];
      };
    };
  }[];
};

/** By secret name: `TYPE:value`, sorted. Bundles without matchers are left out. */
export async function dumpedMatchers(admin: EnvoyAdmin): Promise<Map<string, string[]>> {
  const dump = JSON.parse(await admin.configDump("resource=dynamic_active_secrets")) as Dump;
  const matchers = new Map<string, string[]>();
  for (const { name, secret } of dump.configs ?? []) {
    const list = secret?.validation_context?.match_typed_subject_alt_names;
    if (list === undefined) continue;
    matchers.set(name, list.map(({ san_type, matcher }) => `${san_type}:${matcher.exact ?? ""}`).sort());
  }
  return matchers;
}
