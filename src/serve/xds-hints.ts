/** What to do next about an xDS client that was refused, and about the port, in the words of `meshroot serve`. */

import { listenHints } from "../core/errors.ts";
import type { ServerHints } from "../xds/hints.ts";

export const XDS_HINTS: ServerHints = {
  noOwnCertificate: "This server has no certificate to show yet: see /health/ready.",
  handshakeFailed:
    "A client that does not trust this server has an old bundle: write it a new one with `meshroot proxy bootstrap`.",
  noCertificate: "Give Envoy the files that `meshroot proxy bootstrap` wrote.",
  unverified: "Write a new bootstrap for this proxy.",
  cannotListen: listenHints("--xds-port"),
};
