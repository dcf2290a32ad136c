/** What a root certificate says that decides whether verifiers take it, read from its DER. */

import type { KeyObject } from "node:crypto";
import { contents, decode, dotted, isBoolean, isContext, members } from "./der.ts";
import { type NameConstraints, readNameConstraints } from "./name-constraints.ts";
import type { ParsedCertificate } from "./pem.ts";

export type RootFacts = {
  /** 1, 2, 3 … as people count them. */
  readonly version: number;
  /** Dotted OIDs of its critical extensions. */
  readonly critical: readonly string[];
  /** Dotted OIDs; undefined where it has no such extension. */
  readonly extKeyUsage: readonly string[] | undefined;
  readonly nameConstraints: NameConstraints | undefined;
  /** Every length is definite and as short as it can be (X.690 10.1). */
  readonly isDer: boolean;
  readonly publicKey: KeyObject;
};

const EXT_KEY_USAGE = "2.5.29.37";
const NAME_CONSTRAINTS = "2.5.29.30";
/** What every profile of certificates has in common: id-ce. */
const STANDARD = /^2\.5\.29\./;

export function rootFacts({ der, x509 }: Pick<ParsedCertificate, "der" | "x509">): RootFacts {
  const tbs = members(members(decode(der))[0]);
  const extensions = members(members(tbs.find((member) => isContext(member, 3)))[0]).map((extension) => {
    const [id, flag] = members(extension);
    const critical = isBoolean(flag) && contents(flag)[0] !== 0;
    return { id: dotted(id), critical, value: contents(members(extension).at(-1)) };
  });
  const value = (id: string) => extensions.find((extension) => extension.id === id)?.value;
  const [usages, constraints] = [value(EXT_KEY_USAGE), value(NAME_CONSTRAINTS)];
  const [first] = tbs;
  const version = first !== undefined && isContext(first, 0) ? contents(members(first)[0]) : Buffer.of(0);
  return {
    version: version.readUIntBE(0, Math.min(version.length, 6)) + 1,
    critical: extensions.flatMap(({ id, critical }) => (critical ? [id] : [])),
    extKeyUsage: usages && members(decode(usages)).map(dotted),
    nameConstraints: constraints && readNameConstraints(constraints),
    isDer:
      hasShortLengths(der) && extensions.every(({ id, value: inner }) => !STANDARD.test(id) || hasShortLengths(inner)),
    publicKey: x509.publicKey,
  };
}

const CONSTRUCTED = 0x20;

/** Whether each element of `der`, at any depth, has a definite length in the fewest bytes. */
function hasShortLengths(der: Buffer): boolean {
  for (let at = 0; at < der.length; ) {
    const first = der[at + 1] ?? 0;
    const bytes = first < 0x80 ? 0 : first & 0x7f;
    if (first === 0x80 || bytes > 4) return false;
    const length = bytes === 0 ? first : der.subarray(at + 2).readUIntBE(0, bytes);
    if (bytes > 0 && length < (bytes === 1 ? 0x80 : 2 ** (8 * (bytes - 1)))) return false;
    const from = at + 2 + bytes;
    if (((der[at] ?? 0) & CONSTRUCTED) !== 0 && !hasShortLengths(der.subarray(from, from + length))) return false;
    at = from + length;
  }
  return true;
}
