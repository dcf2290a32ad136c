/** The command lines of docs/roots.md yield roots that prove themselves. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { inspect } from "../../src/pki/inspect.ts";
import { createRootProver } from "../../src/pki/prove-root.ts";
import { XDS_SERVER_NAMES } from "../../src/serve/certificate-maker.ts";
import { temporaryDirectory } from "../support/data-dir.ts";
import { authorityOf } from "../support/odd-roots.ts";

const DOCS = new URL("../../docs/roots.md", import.meta.url);
const IDENTITIES = [{ serviceAccount: "cart", namespace: "shop" }];

test("every openssl line of docs/roots.md makes a root that carries a mesh, ten years long", async (t) => {
  const blocks = [...(await readFile(DOCS, "utf8")).matchAll(/```sh\n(openssl[^`]+)```/g)].map(
    ([, lines = ""]) => lines,
  );
  assert.equal(blocks.length, 4);
  const cwd = await temporaryDirectory(t);
  const ids: (string | undefined)[] = [];
  for (const lines of blocks) {
    execFileSync("bash", ["-euc", lines], { cwd, stdio: "pipe" });
    const [certificatePem, keyPem] = await Promise.all(
      ["ca.crt", "private.key"].map((name) => readFile(join(cwd, name), "utf8")),
    );
    const authority = authorityOf({ certificatePem: certificatePem ?? "", keyPem: keyPem ?? "" });
    ids.push(authority.issuerId);
    const prover = createRootProver({ serverNames: XDS_SERVER_NAMES, now: Date.now });
    const form = { trustDomain: "cluster.local", spiffe: true };
    const { carried, problem } = await prover.prove(authority.certificatePem, authority.issue, {
      form,
      identities: IDENTITIES,
    });
    assert.deepEqual([carried, problem], [IDENTITIES, undefined], lines);
    const { notBefore, notAfter, subjectKeyId } = inspect(authority.certificatePem);
    assert.equal(notAfter - notBefore, 3650 * 86_400_000);
    assert.ok(subjectKeyId);
  }
  assert.equal(ids[3], ids[2], "reissued with its key, it is the same CA to a verifier");
  assert.equal(new Set(ids).size, 3);
});
