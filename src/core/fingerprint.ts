/** SHA-256 of the certificate's DER, 64 lower-case hex digits, from the form that Node prints. */
export function fingerprintOf({ fingerprint256 }: { readonly fingerprint256: string }): string {
  return fingerprint256.replaceAll(":", "").toLowerCase();
}
