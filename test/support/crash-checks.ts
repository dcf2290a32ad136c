/** What must be true of the disk and of the proxies after any crash: generations, versions, keys, what may be running. */

import assert from "node:assert/strict";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { TrustDocument } from "../../src/controller/durable-state.ts";
import type { DurableRow } from "../../src/core/evidence/ledger-rows.ts";
import { DEFAULT_NAMESPACE } from "../../src/core/roots/mesh-root.ts";
import { rootOf } from "../../src/core/roots/trust.ts";
import type { Secret } from "../../src/ports/store.ts";
import { secretFiles } from "../../src/stores/files/secret-files.ts";
import { stateFiles } from "../../src/stores/files/state-files.ts";
import type { Held, LightProxy } from "./light-proxy.ts";

/** Reads what is durable; nothing is written. */
export async function readDisk(dataDir: string) {
  const state = stateFiles(join(dataDir, "state"));
  const trust = (await state.trust.read())?.value as TrustDocument | undefined;
  const rows = (await state.evidence.read()) as Map<string, DurableRow>;
  await state.close();
  const store = secretFiles(join(dataDir, "secrets"));
  const directory = join(dataDir, "secrets", DEFAULT_NAMESPACE);
  const files = (await readdir(directory).catch(() => [])).filter((name) => !name.startsWith("."));
  const secrets = new Map<string, Secret>();
  for (const file of files) {
    const name = file.replace(/\.yaml$/, "");
    const secret = await store.read({ name, namespace: DEFAULT_NAMESPACE });
    if (secret !== undefined) secrets.set(name, secret);
  }
  return { trust, rows, secrets };
}

export type DiskChecks = {
  /** Asserts on the disk as it is, against all that was seen before, and on what the proxies run. */
  check(proxies: readonly LightProxy[]): Promise<void>;
  /** This CA's MRC was deleted: its key may go. */
  mayGo(secret: string): void;
};

export function diskChecks(dataDir: string): DiskChecks {
  const generations = new Map<number, string>();
  const authorities = new Map<string, string>();
  const leaving = new Set<string>();
  let latest = 0;
  return {
    mayGo: (name) => void leaving.add(name),
    async check(proxies) {
      const before = proxies.map(({ uuid, held }) => ({ uuid, before: [...held.values()], held }));
      const { trust: document, rows, secrets } = await readDisk(dataDir);
      for (const [name, text] of authorities) {
        if (!leaving.has(name)) assert.equal(textOf(secrets.get(name)), text, `the key of ${name} is what it was`);
      }
      for (const [name, secret] of secrets) {
        if (secret.data["private.key"] !== undefined) authorities.set(name, textOf(secret));
      }
      if (document === undefined) {
        assert.equal(latest, 0, "the trust in force is still there");
        return;
      }
      const { generation, roots, ...content } = document.trust;
      assert.ok(generation >= latest, `generation ${generation} after ${latest} (E1)`);
      sameAsBefore(generations, generation, JSON.stringify(content), `generation ${generation} (E1)`);
      latest = generation;

      const spec = document.authorities[rootOf(document.trust, document.trust.signer).name];
      assert.ok(spec?.kind === "tresor", "the signer is on record");
      const authority = secrets.get(spec.secretRef.name);
      assert.ok(authority !== undefined, "the signer has its key");
      const certificate = new X509Certificate(rootOf(document.trust, document.trust.signer).certificatePem);
      assert.ok(certificate.checkPrivateKey(createPrivateKey(authority.data["private.key"] ?? "")));

      for (const { uuid, before: earlier, held } of before) {
        for (const { name, version } of earlier) {
          const slot = rows.get(uuid)?.slots.find((one) => one.name === name);
          const mayRun = slot?.mayRun.map((one) => one.version) ?? [];
          // With a server that runs, it may have changed while the disk was read.
          const runs = [version, held.get(name)?.version ?? version];
          assert.ok(
            runs.some((one) => mayRun.includes(one)),
            `${uuid} runs ${name} ${runs}, on disk it may run ${mayRun} (E7)`,
          );
        }
      }
    },
  };
}

export type ProxyChecks = {
  /** For `LightProxy`'s `onSecret`: throws where a version repeats for something else, or where trust is missing. */
  check(proxy: LightProxy, held: Held): void;
  /** Pairs of a leaf and a bundle that met. */
  readonly meetings: number;
};

/** Every leaf that some proxy presents is verified by every other proxy, at every change. */
export function proxyChecks(proxies: readonly LightProxy[]): ProxyChecks {
  const contents = new Map<string, string>();
  const generations = new Map<string, string>();
  const known = new Map<string, boolean>();
  let meetings = 0;
  const verifies = (leaf: Held, bundle: Held): boolean => {
    const key = `${leaf.version} ${bundle.version}`;
    const [certificate] = leaf.certificates;
    const verdict =
      known.get(key) ??
      bundle.certificates.some((root) => certificate?.checkIssued(root) && certificate.verify(root.publicKey));
    known.set(key, verdict);
    meetings++;
    return verdict;
  };
  return {
    get meetings() {
      return meetings;
    },
    check(_proxy, held) {
      const { secret, version, name, certificates } = held;
      const prints = certificates.map(({ fingerprint256 }) => fingerprint256.replaceAll(":", "").toLowerCase());
      if (secret.kind === "tlsCertificate") {
        assert.equal(version, prints[0], "the version of a leaf is its certificate's hash (E1)");
        assert.ok(certificates[0]?.checkPrivateKey(createPrivateKey(secret.privateKeyPem)));
      } else {
        const content = JSON.stringify(prints);
        sameAsBefore(contents, `${name} ${version}`, content, `${name} ${version} (E1)`);
        sameAsBefore(generations, `${name} ${version.split("-")[0]}`, content, `generation of ${version} (E1)`);
      }
      const all = proxies.flatMap((one) => [...one.held.values()]);
      for (const leaf of all.filter((one) => one.secret.kind === "tlsCertificate")) {
        for (const bundle of all.filter((one) => one.secret.kind === "validationContext"))
          assert.ok(verifies(leaf, bundle), `a peer with bundle ${bundle.version} refuses leaf ${leaf.version}`);
      }
    },
  };
}

/** When this life of the server may have moved a gate at the earliest: all of `proxies` had answered it by then (E14). */
export function allAnsweredBy(proxies: readonly LightProxy[], startedAt: number): number {
  return Math.max(...proxies.map(({ answeredAt }) => answeredAt.find((at) => at >= startedAt) ?? Infinity));
}

function sameAsBefore<Key>(seen: Map<Key, string>, key: Key, value: string, what: string): void {
  assert.equal(seen.get(key) ?? value, value, `${what} means one thing only`);
  seen.set(key, value);
}

function textOf(secret: Secret | undefined): string {
  return Object.values(secret?.data ?? {}).join();
}
