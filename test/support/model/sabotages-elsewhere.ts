/** Deliberate defects that the histories can't see, each with the test file that must notice it. */

import type { Sabotage } from "./sabotages.ts";

const AGENT_TESTS = "test/agent/agent.test.ts";
const CLOCK_TESTS = "test/serve/clock.test.ts";
const RESOURCE_SET = "src/xds/resource-set.ts";
const RESOURCE_SET_TESTS = "test/xds/resource-set.test.ts";

export const SABOTAGES_ELSEWHERE: readonly (Sabotage & { readonly caughtBy: string })[] = [
  {
    name: "a NACK leaves no error",
    rule: "E12",
    file: "src/core/refusals.ts",
    from: "row.error = { answering: name,",
    to: "void { answering: name,",
    caughtBy: "test/core/evidence-ledger.test.ts",
  },
  {
    name: "the signer moves past a proxy that refuses",
    rule: "a NACK stops the rollout",
    file: "src/core/gates.ts",
    from: "  noProxyRefusesItsSecrets,\n",
    to: "",
    caughtBy: "test/core/evidence-gates.test.ts",
  },
  {
    name: "who comes back while the signer moves gets a leaf for the trust before",
    rule: "E10",
    file: "src/controller/mesh-secrets.ts",
    from: "const { signer } = decided ?? trust;",
    to: "const { signer } = decided === undefined ? trust : trust;",
    caughtBy: "test/scenarios/scenarios.test.ts",
  },
  {
    name: "a save that failed is taken for one that did not happen",
    rule: "E10",
    file: "src/controller/rotation-controller.ts",
    from: "    await this.#disk.save(plan.trust, this.#roots.specs);\n    this.#trust",
    to:
      "    await this.#disk.save(plan.trust, this.#roots.specs).catch((error) => {\n" +
      "      this.#decided = undefined;\n      throw error;\n    });\n    this.#trust",
    caughtBy: "test/scenarios/scenarios.test.ts",
  },
  {
    name: "a process that slept takes the silence for an answer",
    rule: "E13",
    file: "src/core/ledger.ts",
    from: "passed > LEAP_MS",
    to: "passed < LEAP_MS - 1e9",
    caughtBy: "test/core/evidence-agents.test.ts",
  },
  {
    name: "a leaf is given without a thought for connections that are being made",
    rule: "E11",
    file: "src/core/ledger-queries.ts",
    from: "now < at + settleMs ? [root] : []",
    to: "now < at ? [root] : []",
    caughtBy: "test/core/evidence-agents.test.ts",
  },
  {
    name: "what an agent may have in hand does not count",
    rule: "C5",
    file: "src/core/ledger-queries.ts",
    from: "return some ?",
    to: "return some && now < 0 ?",
    caughtBy: "test/core/evidence-credentials.test.ts",
  },
  {
    name: "a handed-out bootstrap is forgotten when our certificate moves",
    rule: "C5",
    file: "src/core/ledger-queries.ts",
    from: "if (isHandedOutWithout(row, root)) return false;",
    to: "",
    caughtBy: "test/core/evidence-agents.test.ts",
  },
  {
    name: "the bundle of a bootstrap is forgotten once it is in use",
    rule: "C5",
    file: "src/core/handed-out.ts",
    from: "    bring(row, found, use);",
    to: "",
    caughtBy: "test/core/evidence-agents.test.ts",
  },
  {
    name: "a bootstrap that was never seen is forgotten without an ACK",
    rule: "C5",
    file: "src/core/handed-out.ts",
    from: "for (const one of row.issued.filter(isPast)) bring(row, one, use);",
    to: "",
    caughtBy: "test/core/evidence-agents.test.ts",
  },
  {
    name: "an Envoy's handshake of long ago outweighs what its agent has ACKed since",
    rule: "C5",
    file: "src/core/ledger-queries.ts",
    from: "return isProven && slots.every(",
    to: "return row.auth.envoy === root || slots.every(",
    caughtBy: "test/core/evidence-agents.test.ts",
  },
  {
    name: "an agent speaks for an Envoy that is away",
    rule: "E12",
    file: "src/core/ledger-queries.ts",
    from: 'if (!sidesHere(row).has("envoy")) return',
    to: "if (!isConnected(row)) return",
    caughtBy: "test/core/evidence-agents.test.ts",
  },
  {
    name: "any URI of a certificate may be the identity",
    rule: "C1",
    file: "src/xds/client-identity.ts",
    from: "uris.length === 1 ?",
    to: "uris.length >= 1 ?",
    caughtBy: "test/xds/identity.test.ts",
  },
  {
    name: "the files change one after the other",
    rule: "C2",
    file: "src/envoy/credentials-dir.ts",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source text
    from: "for (const name of Object.keys(files)) links.set(name, `${DATA}/${name}`);",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source text
    to: "const now = await readlink(join(dir, DATA)); for (const name of Object.keys(files)) links.set(name, `${now}/${name}`);",
    caughtBy: "test/envoy/credentials-dir.test.ts",
  },
  {
    name: "the agent ACKs what it has written",
    rule: "C3",
    file: "src/agent/loading.ts",
    from: 'if (proof.loaded) return "loaded";',
    to: 'return "loaded";',
    caughtBy: AGENT_TESTS,
  },
  {
    name: "the agent answers only the last of what it has written",
    rule: "C3",
    file: "src/agent/exchange.ts",
    from: "for (const response of responses) respond",
    to: "for (const response of responses.slice(-1)) respond",
    caughtBy: AGENT_TESTS,
  },
  {
    name: "our own certificate is not renewed before it ends",
    rule: "C6",
    file: "src/serve/own-credentials.ts",
    from: "!usable || latest >= current.renewAt || ",
    to: "!usable || ",
    caughtBy: "test/serve/credentials.test.ts",
  },
  {
    name: "roles that are not allowed are followed",
    rule: "a role edit can't break the mesh",
    file: "src/controller/known-roots.ts",
    from: "      checkSet(roots, this.#namespace) ??\n",
    to: "",
    caughtBy: "test/scenarios/scenarios.test.ts",
  },
  {
    name: "another identity's leaf is one's own",
    rule: "identity is what the transport proved",
    file: "src/core/secret-names.ts",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source text
    from: "name === `service-cert:${namespace}/${serviceAccount}`;",
    to: 'name.startsWith("service-cert:");',
    caughtBy: "test/xds/identity.test.ts",
  },
  {
    name: "a refusal quotes the key",
    rule: "private keys never appear",
    file: "src/agent/check-secret.ts",
    from: '"certificate and private key do not belong together"',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source text
    to: "`certificate and private key do not belong together: ${keyPem}`",
    caughtBy: AGENT_TESTS,
  },
  {
    name: "a route goes out before its cluster is ACKed",
    rule: "make before break",
    file: RESOURCE_SET,
    from: 'if (state === "waiting") return;',
    to: "",
    caughtBy: RESOURCE_SET_TESTS,
  },
  {
    name: "a refusal does not hold back what comes after it",
    rule: "make before break",
    file: RESOURCE_SET,
    from: 'isRefused ||= state === "refused";',
    to: "",
    caughtBy: RESOURCE_SET_TESTS,
  },
  {
    name: "a cluster is deleted with the edit, not after it",
    rule: "make before break",
    file: RESOURCE_SET,
    from: "together(part.shown, next)",
    to: "next",
    caughtBy: RESOURCE_SET_TESTS,
  },
  {
    name: "a refused resource that is taken back still counts",
    rule: "make before break",
    file: RESOURCE_SET,
    from: " || !next.has(name)) continue;",
    to: ") continue;",
    caughtBy: RESOURCE_SET_TESTS,
  },
];
