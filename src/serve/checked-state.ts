/** The stored trust, with what only a reader of certificates can see in it. */

import { X509Certificate } from "node:crypto";
import { MeshrootError } from "../core/errors.ts";
import { fingerprintOf } from "../core/fingerprint.ts";
import { isObject } from "../core/object-reader.ts";
import type { StateStore, TrustStore } from "../ports/store.ts";

/** What is written down, checked as it is read. */
export function checkedState({ trust, evidence }: StateStore): StateStore {
  return { trust: checkedTrust(trust), evidence };
}

/** As `trust`. Proxies are sent these certificates, so each has to be the one that its record is about: else MR2004. */
function checkedTrust(trust: TrustStore): TrustStore {
  return {
    ...trust,
    async read() {
      const stored = await trust.read();
      const value = stored?.value;
      const inForce = isObject(value) && isObject(value.trust) ? value.trust : {};
      const wrong = Object.values(isObject(inForce.roots) ? inForce.roots : {}).find(
        (root) => isObject(root) && isAnother(root),
      );
      if (wrong === undefined) return stored;
      throw new MeshrootError(
        "MR2004",
        `can't use the stored trust: the certificate of root ${String((wrong as { name?: unknown }).name)} is not the one of its record`,
        "Nothing was overwritten. Put trust.json.bak (the state before the last change) or a backup in the place of trust.json.",
      );
    },
  };
}

/** Where one of both is no text, the shape of the record is the matter, and is looked at next. */
function isAnother({ certificatePem, fingerprint }: Readonly<Record<string, unknown>>): boolean {
  if (typeof certificatePem !== "string" || typeof fingerprint !== "string") return false;
  try {
    return fingerprintOf(new X509Certificate(certificatePem)) !== fingerprint;
  } catch {
    return true;
  }
}
