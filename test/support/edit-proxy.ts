/** Bootstraps that no command of ours writes, for `edit` of a test mesh. */

import { parse, stringify } from "yaml";
import type { ProxyFiles } from "../../src/cli/demo/mesh.ts";

/** Throws when nothing changes: an edit that misses would make its test prove nothing. */
export function editTexts(files: ProxyFiles, edit: (text: string) => string): ProxyFiles {
  const edited = Object.fromEntries(Object.entries(files).map(([file, text]) => [file, edit(text)]));
  if (Object.entries(files).every(([file, text]) => edited[file] === text)) throw new Error("nothing was edited");
  return edited;
}

/** Edits the parsed `bootstrap.yaml` in place; in the variants sotw and delta all listeners and clusters are there. */
// biome-ignore lint/suspicious/noExplicitAny: YAML of Envoy's schema
export function editBootstrap(files: ProxyFiles, edit: (bootstrap: any) => void): ProxyFiles {
  return editTexts(files, (text) => {
    const document = parse(text);
    if (document?.static_resources === undefined) return text;
    edit(document);
    return stringify(document, { aliasDuplicateObjects: false });
  });
}
