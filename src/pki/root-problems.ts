/** What is wrong with a root, in words: which certificate a verifier refuses under it, why, and how to make one that works. */

import type { Problem } from "../core/errors.ts";
import type { RootFacts } from "./root-facts.ts";

const PLAIN = "docs/roots.md has the command lines that make a good root.";
const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
const MAX_RSA_BITS = 8192;
const MAX_EXPONENT = 2n ** 33n - 1n;
const MIN_RSA_BITS = 2048;

/** Extensions that OpenSSL's chain check acts on, so that they may be critical (X509_supported_extension). */
const UNDERSTOOD = new Set([
  ...["15", "17", "19", "30", "31", "32", "33", "36", "37", "54"].map((last) => `2.5.29.${last}`),
  "2.16.840.1.113730.1.1",
  "1.3.6.1.5.5.7.1.7",
  "1.3.6.1.5.5.7.1.8",
  "1.3.6.1.5.5.7.1.14",
]);

/**
 * What BoringSSL, and so every Envoy, refuses in a root although OpenSSL takes it. Seen on real Envoys 1.36.4 and 1.40.0 with
 * one root for each kind (test/e2e/root-judge.test.ts), and in BoringSSL's sources: it parses strict DER only; it knows X.509
 * v3 alone where there are extensions; it verifies no RSA signature with an exponent above 33 bits or a modulus above 8192;
 * it takes any minimum or maximum in name constraints for a violation. In the other direction it is lenient: of a trust anchor
 * it looks neither at purposes nor at critical extensions, and with Envoy's settings takes an intermediate for one.
 */
export function boringSslProblem(name: string, facts: RootFacts): Problem | undefined {
  const details = facts.publicKey.asymmetricKeyDetails ?? {};
  if (!facts.isDer)
    return refused(`${name} is not encoded in DER: Envoy can't load it`, "Have it issued again by openssl or step.");
  if (facts.version !== 3)
    return refused(
      `${name} says X.509 version ${facts.version}: Envoy takes version 3 alone`,
      "Make it anew with `openssl req -x509`, which writes version 3.",
    );
  if ((details.publicExponent ?? 0n) > MAX_EXPONENT)
    return refused(
      `${name} has an RSA key whose public exponent is larger than Envoy verifies with (33 bits)`,
      "Make its key with the usual exponent 65537.",
    );
  if ((details.modulusLength ?? 0) > MAX_RSA_BITS)
    return refused(
      `${name} has an RSA key of ${details.modulusLength} bits: Envoy verifies with at most ${MAX_RSA_BITS}`,
      "Make its key RSA-2048 to RSA-4096, or P-256.",
    );
  if (facts.nameConstraints?.hasDistances === true)
    return refused(
      `${name} has name constraints with a minimum or maximum, which Envoy refuses`,
      "Leave both out: RFC 5280 gives them no other value than the default.",
    );
  return undefined;
}

/** Of which certificates a handshake was made, as in `a certificate of cart.shop`. */
export type Tried = { readonly what: string; readonly names: readonly string[]; readonly by: "server" | "client" };

/** `word`: OpenSSL's for the refusal. */
export function handshakeProblem(name: string, facts: RootFacts, tried: Tried, word: string): Problem {
  const where = tried.by === "server" ? "as a client's" : "as a server's";
  if (word === "INVALID_PURPOSE") {
    const usages = facts.extKeyUsage ?? [];
    const missing = [
      ...(usages.includes(SERVER_AUTH) ? [] : ["serverAuth"]),
      ...(usages.includes(CLIENT_AUTH) ? [] : ["clientAuth"]),
    ];
    return refused(
      `${name} is limited by its extendedKeyUsage, which lacks ${missing.join(" and ") || "what the mesh needs"}: ${tried.what} is refused ${where} (${word})`,
      "Make it anew without extendedKeyUsage, or with `extendedKeyUsage=serverAuth,clientAuth`: every workload is both.",
    );
  }
  if (/UNABLE_TO_GET_ISSUER|UNABLE_TO_VERIFY/.test(word))
    return refused(
      `${name} is not self-signed: it is an intermediate, or its authority key id is another's, and a verifier looks on for its issuer (${word})`,
      "Give the root itself, or make a self-signed one: an intermediate can't be a trust anchor.",
    );
  if (/KEY_TOO_SMALL/.test(word)) {
    const bits = facts.publicKey.asymmetricKeyDetails?.modulusLength;
    return refused(
      `${name} has a key that is too small${bits === undefined ? "" : ` (RSA-${bits})`}: the xDS port and the agents refuse what it signs`,
      `Make its key RSA of at least ${MIN_RSA_BITS} bits, or P-256.`,
    );
  }
  const unknown = facts.critical.filter((id) => !UNDERSTOOD.has(id));
  if (unknown.length > 0)
    return refused(
      `${name} has a critical extension that verifiers don't know (${unknown.join(", ")}): ${tried.what} is refused ${where}`,
      "Make it anew without that extension, or not critical.",
    );
  if (facts.nameConstraints !== undefined) return outside(name, facts.nameConstraints.words, tried);
  return refused(`${name}: ${tried.what} is refused ${where} (${word})`, "`openssl verify -purpose any` may say more.");
}

/** MR3007: the constraints are the operator's will, so what they shut out is named. */
function outside(name: string, words: readonly string[], { what, names }: Tried): Problem {
  return {
    code: "MR3007",
    message: `${what} (${names.join(", ")}) is outside the name constraints of ${name} (${words.join(", ")})`,
    hint: `Use a root without name constraints, or one whose constraints permit these names, the mesh's trust domain and the xDS server's own names. ${PLAIN}`,
  };
}

function refused(message: string, hint: string): Problem {
  return { code: "MR3006", message, hint: `${hint} ${PLAIN}` };
}
