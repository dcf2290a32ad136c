/** Puts the Envoy versions that the tests use into the user's cache: `node test/support/install-envoys.ts`. */

import { ENVOY_VERSIONS, findEnvoy } from "../../src/envoy/binary.ts";

for (const version of ENVOY_VERSIONS) {
  const { path, source } = await findEnvoy({ version, install: true });
  console.log(`envoy ${version}: ${path} (${source})`);
}
