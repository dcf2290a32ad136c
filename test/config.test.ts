import assert from "node:assert/strict";
import { test } from "node:test";
import { flagName, loadConfig, loadSettings, SETTINGS, type Setting, variableName } from "../src/config.ts";
import { MeshrootError } from "../src/core/errors.ts";
import { RESUBSCRIBED_AFTER_MS } from "../src/core/evidence/ledger-queries.ts";

/** The lines of MR5002. */
function complaints(flags: Record<string, unknown>, env: Record<string, string> = {}): string[] {
  try {
    loadConfig(flags, env);
  } catch (error) {
    assert.ok(error instanceof MeshrootError && error.code === "MR5002");
    return error.message
      .split("\n")
      .slice(1)
      .map((line) => line.trim());
  }
  return assert.fail("accepted");
}

test("the defaults", () => {
  assert.deepEqual(loadConfig({}, {}), {
    dataDir: "./meshroot-data",
    namespace: "osm-system",
    bind: "127.0.0.1",
    xdsPort: 15128,
    httpPort: 9091,
    healthPort: 15129,
    trustDomain: "cluster.local",
    enableSpiffe: false,
    leafValidityMs: 86_400_000,
    xdsCertValidityMs: 30 * 86_400_000,
    rootValidityMs: 87_600 * 3_600_000,
    leafKeyAlgorithm: "ec-p256",
    rootKeyAlgorithm: "rsa-2048",
    settleMs: 5000,
    recoveryWindowMs: 45_000,
    absentPolicy: "until-leaf-expiry",
    maxStreamAgeMs: 1_800_000,
    streamRate: 1000,
    maxRequestBytes: 4_194_304,
    drainWindowMs: 5000,
    xdsPortExtras: "on",
    logLevel: "info",
    logFormat: "auto",
  });
  assert.ok(Object.isFrozen(loadConfig({}, {})));
});

test("a flag wins over its variable, a variable over the default, an empty one counts for nothing", () => {
  const env = { MESHROOT_SETTLE: "1s", MESHROOT_XDS_PORT: "0", MESHROOT_ENABLE_SPIFFE: "true", MESHROOT_BIND: "" };
  const config = loadConfig({ settle: "2s", enableSpiffe: undefined }, env);
  assert.deepEqual([config.settleMs, config.xdsPort, config.enableSpiffe, config.bind], [2000, 0, true, "127.0.0.1"]);
  assert.equal(loadConfig({ enableSpiffe: true }, {}).enableSpiffe, true);
});

test("flags and variables are named after the setting, without its unit", () => {
  const names = (Object.keys(SETTINGS) as Setting[]).map((setting) => `${flagName(setting)} ${variableName(setting)}`);
  assert.ok(names.includes("--xds-cert-validity MESHROOT_XDS_CERT_VALIDITY"));
  assert.ok(names.includes("--data-dir MESHROOT_DATA_DIR"));
  assert.equal(new Set(names).size, names.length);
});

test("reports every problem at once, each by the name that it was given under", () => {
  const env = { MESHROOT_LOG_LEVEL: "loud", MESHROOT_TRUST_DOMAIN: "Not A Name", MESHROOT_ENABLE_SPIFFE: "yes" };
  assert.deepEqual(complaints({ settle: "5 sec", xdsPort: "70000", bind: "a b", leafValidity: "1s" }, env), [
    '--bind "a b" is not an IP address or a host name',
    '--xds-port "70000" is not a port (0-65535, 0 takes a free one)',
    'MESHROOT_TRUST_DOMAIN "Not A Name" is not a DNS name',
    'MESHROOT_ENABLE_SPIFFE "yes" is not true or false',
    '--leaf-validity "1s" is less than 1m',
    '--settle "5 sec" is not a duration (like "24h", "1h30m", "500ms")',
    'MESHROOT_LOG_LEVEL "loud" is not one of trace, debug, info, warn, error, fatal, silent',
  ]);
});

test("reports settings that contradict each other", () => {
  assert.deepEqual(complaints({ rootValidity: "100h", httpPort: "15128" }), [
    "--xds-cert-validity 720h is longer than --root-validity 100h",
    "--http-port 15128 is --xds-port too",
  ]);
  assert.deepEqual(complaints({ healthPort: "15128" }), ["--health-port 15128 is --xds-port too"]);
  assert.deepEqual(complaints({ rootValidity: "100h", leafValidity: "72h", xdsCertValidity: "90h" }), [
    "--root-validity 100h is shorter than 132h, in which certificates of these lives are renewed and a rotation ends",
  ]);
  assert.equal(loadConfig({ httpPort: "0", xdsPort: "0", healthPort: "0" }, {}).healthPort, 0);
});

test("E13 a stream lasts longer than a stranger has to stay until it gets its leaf", () => {
  assert.deepEqual(complaints({ maxStreamAge: "59s" }), ['--max-stream-age "59s" is less than 1m']);
  assert.ok(0.8 * loadConfig({ maxStreamAge: "1m" }, {}).maxStreamAgeMs > RESUBSCRIBED_AFTER_MS);
});

test("is not confused by the variables that Kubernetes sets for a Service called meshroot-xds", () => {
  assert.equal(loadConfig({}, { MESHROOT_XDS_PORT: "tcp://10.96.0.7:15128" }).xdsPort, 15128);
});

test("a command that needs few settings is not stopped by the others", () => {
  assert.deepEqual(loadSettings(["dataDir"], {}, { MESHROOT_SETTLE: "soon", MESHROOT_DATA_DIR: "/x" }), {
    dataDir: "/x",
  });
});

test("binds to addresses and names", () => {
  for (const bind of ["0.0.0.0", "::", "::1", "localhost"]) assert.equal(loadConfig({ bind }, {}).bind, bind);
});

test("B7: binds to every form of an address, and says what has no place there", () => {
  for (const bind of ["::ffff:127.0.0.1", "fe80::1%eth0"]) assert.equal(loadConfig({ bind }, {}).bind, bind);
  assert.equal(loadConfig({ bind: "[::1]" }, {}).bind, "::1");
  for (const bind of ["127.0.0.1:15128", "[::1]:15128", "127.1", "256.0.0.1", "http://localhost", "", "a b"])
    assert.throws(() => loadConfig({ bind }, {}), /MR5002 [\s\S]*--bind .*(is not an IP address|is empty)/, bind);
  for (const flag of ["xdsPort", "httpPort", "healthPort"])
    for (const port of ["65536", "-1", "1.5", "0x50", "::1", "15128 ", "99999999999"])
      assert.throws(() => loadConfig({ [flag]: port }, {}), /MR5002 [\s\S]*is not a port \(0-65535/, `${flag} ${port}`);
});
