/** Lists as `kubectl get -o yaml` prints them (`kind: List`), and as the API server does (`kind: SecretList`). */

import { isObject } from "../../core/object-reader.ts";

/** One object of a list; `path` leads to it from the list's top. */
export type ListItem = { readonly path: readonly (string | number)[]; readonly object: unknown };

/** What items of a typed list leave out, because the list's own kind says it. */
export type ItemType = { readonly apiVersion: string; readonly kind: string };

const MAX_NESTING = 4;

/** The objects in a list, also in lists within it; undefined for what is no list. */
export function listItems(value: unknown, type: ItemType, nesting = 0): ListItem[] | undefined {
  const isTyped = isObject(value) && value.kind === `${type.kind}List` && value.apiVersion === type.apiVersion;
  if (!isTyped && !(isObject(value) && value.kind === "List" && value.apiVersion === "v1")) return undefined;
  // Nothing in it, or nothing that is a list: told apart by nobody, and in both cases no object.
  const items = Array.isArray(value.items) ? value.items : [];
  return items.flatMap((item: unknown, index): ListItem[] => {
    const path = ["items", index];
    const object = isTyped && isObject(item) ? { ...type, ...item } : item;
    const inner = nesting < MAX_NESTING ? listItems(object, type, nesting + 1) : undefined;
    return inner?.map((each) => ({ ...each, path: [...path, ...each.path] })) ?? [{ path, object }];
  });
}
