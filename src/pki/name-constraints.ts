/** Name constraints of a CA (RFC 5280 4.2.1.10), as far as we have to read them: verifiers judge by them, we explain. */

import { type Asn1, contents, decode, isContext, members } from "./der.ts";

export type NameConstraints = {
  /** DNS names that it permits; the domain itself and all below it. Empty: it says nothing of DNS names here. */
  readonly permittedDns: readonly string[];
  /** For people, e.g. `permitted DNS foo.bar`. */
  readonly words: readonly string[];
  /** Some subtree has a minimum or a maximum. */
  readonly hasDistances: boolean;
};

const KINDS: Readonly<Record<number, string>> = { 1: "email", 2: "DNS", 4: "directory name", 6: "URI", 7: "address" };
const DNS_TAG = 2;
const TEXT_TAGS = new Set([1, 2, 6]);

/** `der`: the value of the extension. */
export function readNameConstraints(der: Buffer): NameConstraints {
  const trees = members(decode(der)).flatMap((list) =>
    members(list).map((tree) => ({ list: isContext(list, 0) ? "permitted" : "excluded", parts: members(tree) })),
  );
  const text = (base: Asn1 | undefined) => contents(base).toString("latin1");
  return {
    permittedDns: trees.flatMap(({ list, parts: [base] }) =>
      list === "permitted" && base !== undefined && isContext(base, DNS_TAG) ? [text(base).replace(/^\./, "")] : [],
    ),
    words: trees.map(({ list, parts: [base] }) => {
      const tag = Object.keys(KINDS).find((key) => base !== undefined && isContext(base, Number(key)));
      const value = TEXT_TAGS.has(Number(tag)) ? ` ${printable(text(base))}` : "";
      return `${list} ${KINDS[Number(tag)] ?? "other names"}${value}`;
    }),
    hasDistances: trees.some(({ parts }) => parts.length > 1),
  };
}

/** Anybody may have written it. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, "?").slice(0, 100);
}
