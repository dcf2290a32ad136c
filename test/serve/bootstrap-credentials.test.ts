/** C5: what a bootstrap holds is the trust in force when it is recorded, whatever moved while its CA signed. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { LedgerEvent } from "../../src/core/evidence/ledger-events.ts";
import { emptyLedger } from "../../src/core/evidence/ledger-state.ts";
import type { TrustInForce } from "../../src/core/roots/trust.ts";
import { handOut } from "../../src/serve/bootstrap-credentials.ts";
import { inForce, ownCredential } from "../support/desk.ts";

const PROXY = {
  serviceAccount: "cart",
  namespace: "shop",
  kind: "sidecar",
  trustDomain: "cluster.local",
  uuid: "5f0c2a3e-0b1d-4c6f-9a7e-0123456789ab",
} as const;

test("a credential that was signed while the trust changed is made again, and the first one is not recorded", async () => {
  const [before, after] = [inForce("a", "a"), inForce("a", "a", "b")];
  const asked: TrustInForce[] = [];
  const recorded: LedgerEvent[] = [];
  const controller = {
    trust: before,
    ledger: emptyLedger(),
    observe: (event: LedgerEvent) => {
      recorded.push(event);
      return 0;
    },
    durable: async () => undefined,
  };
  const issuing = {
    bootstrap: async (_: unknown, trust: TrustInForce) => {
      asked.push(trust);
      controller.trust = after;
      return {
        credentials: { proxy: PROXY, certPem: "", keyPem: "", caPem: trust.xds.join(), notAfter: "" },
        handedOut: { ...ownCredential("a"), bundle: { kind: "xdsBundle" as const, version: "1", roots: trust.xds } },
      };
    },
  };
  const { caPem } = await handOut(issuing, controller, PROXY, () => 1, new Map());
  assert.equal(caPem, "a,b");
  assert.deepEqual(asked, [before, after]);
  assert.deepEqual(
    recorded.map((event) => event.type === "issued" && event.credential.bundle.roots),
    [["a", "b"]],
  );
});

test("MR4010: a uuid that another identity was handed is refused before a CA signs", async () => {
  const owners = new Map([[PROXY.uuid as string, "pay.shop"]]);
  const issuing = { bootstrap: () => assert.fail("it was signed") };
  const controller = {
    trust: inForce("a", "a"),
    ledger: emptyLedger(),
    observe: () => assert.fail("it was recorded"),
    durable: async () => undefined,
  };
  await assert.rejects(
    handOut(issuing, controller, PROXY, () => 1, owners),
    { code: "MR4010" },
  );
  assert.equal(owners.get(PROXY.uuid), "pay.shop");
});
