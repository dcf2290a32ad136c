/**
 * A certificate's serial number as lower-case hex without colons or leading zeros ("0" for zero). OpenSSL, Node and Envoy's
 * /certs pad and capitalise differently: compare serials in this form only.
 */
export function normaliseSerial(serial: string): string {
  return serial
    .replaceAll(":", "")
    .toLowerCase()
    .replace(/^0+(?=.)/, "");
}
