/**
 * E11: a connection begun before an ACK finishes with what was loaded before, at either end. Without `settle` such a
 * connection meets a leaf that it can't check; with a settle of the mesh's largest connect_timeout it is over by then.
 */

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { freePorts } from "../../src/cli/demo/free-ports.ts";
import { ENVOY_VERSIONS, type EnvoyBinary } from "../../src/envoy/binary.ts";
import { A, B, type E2eMesh, proxyOf, startMesh } from "../support/e2e-mesh.ts";
import { envoyOrSkip } from "../support/envoy.ts";
import { addSlowPath, getOnce, SLOW_PATH, type SlowRelay, startSlowRelay } from "../support/slow-path.ts";

const SETTLE_MS = 5_000;
/** `cart` is a client whose handshake is slow, `pay` a server whose client is; `stock` stands at the other end of both. */
const NAMES = ["cart", "stock", "pay"];

for (const version of ENVOY_VERSIONS) {
  test(`E11 without settle, a connection begun before the ACK fails after the move, on Envoy ${version}`, async (t) => {
    const envoy = await envoyOrSkip(t, version);
    if (envoy === undefined) return;
    const slow = await startSlowMesh(t, envoy, { settleMs: 0, connectTimeoutMs: 30_000 });
    const { it } = slow;
    const results = await begin(slow);
    await it.until("the signer has moved", ({ signer }) => signer === B);
    await it.untilLoaded([A, B], B);
    assert.deepEqual(await verifyErrors(slow), { client: 0, server: 0 });
    slow.client.release(proxyOf(it.mesh, "stock").inboundPort);
    slow.server.release(proxyOf(it.mesh, "pay").inboundPort);
    assert.equal(await results.client(), "ECONNRESET", "cart does not trust the leaf that stock has by now");
    assert.equal(await results.server(), "ECONNRESET", "pay does not trust the leaf that stock has by now");
    await it.until("both Envoys say why", async () => {
      const { client, server } = await verifyErrors(slow);
      return client === 1 && server === 1;
    });
    assert.equal(await getOnce(slow.ports.client), 200, "the next connection on the same way is well");
    assert.equal(await getOnce(slow.ports.server), 200, "the next connection on the same way is well");
  });

  test(`E11 with settle, the move waits and the connection succeeds, on Envoy ${version}`, async (t) => {
    const envoy = await envoyOrSkip(t, version);
    if (envoy === undefined) return;
    const slow = await startSlowMesh(t, envoy, { settleMs: SETTLE_MS, connectTimeoutMs: SETTLE_MS });
    const { it } = slow;
    const results = await begin(slow);
    let movesAt = 0;
    await it.until("all have ACKed, and the move settles", ({ holds }) => {
      const hold = holds.find(({ gate }) => gate === "signer");
      movesAt = hold?.reason === "Settling" ? (hold.until ?? 0) : 0;
      return movesAt > 0;
    });
    await it.untilLoaded([A, B], A);
    slow.client.release(proxyOf(it.mesh, "stock").inboundPort);
    slow.server.release(proxyOf(it.mesh, "pay").inboundPort);
    assert.equal(await results.client(), 200);
    assert.equal(await results.server(), 200);
    const { signer } = await it.status();
    // Asked before the clock: if the move was due by then, the machine stood still and nothing is shown.
    if (Date.now() < movesAt) assert.equal(signer, A, "the move waits");
    await it.until("the signer has moved", (status) => status.signer === B);
    assert.ok(Date.now() >= movesAt, "not before its time");
    await it.untilLoaded([A, B], B);
    assert.deepEqual(await verifyErrors(slow), { client: 0, server: 0 });
    const { requests } = await it.endLoad();
    t.diagnostic(`${requests} requests, 0 failed`);
  });
}

type SlowMesh = {
  readonly it: E2eMesh;
  readonly client: SlowRelay;
  readonly server: SlowRelay;
  readonly ports: { readonly client: number; readonly server: number };
};

async function startSlowMesh(
  t: TestContext,
  envoy: EnvoyBinary,
  { settleMs, connectTimeoutMs }: { settleMs: number; connectTimeoutMs: number },
): Promise<SlowMesh> {
  const [client, server] = [await startSlowRelay(t), await startSlowRelay(t)];
  const [clientPort = 0, serverPort = 0] = await freePorts(2);
  const it = await startMesh(t, {
    envoy,
    names: NAMES,
    variants: ["sotw", "delta", "ads"],
    settings: { settleMs: `${settleMs}ms` },
    connectTimeoutMs,
    edit: (name, files) => {
      if (name === "cart") return addSlowPath(files, "stock", clientPort, client.port);
      return name === "stock" ? addSlowPath(files, "pay", serverPort, server.port) : files;
    },
  });
  it.startLoad();
  return { it, client, server, ports: { client: clientPort, server: serverPort } };
}

/**
 * Brings the rotation to where only the ACKs of `cart` and `pay` are missing, begins a connection at each of them, and lets
 * the ACKs go. What the connections came to is asked for later; that of `pay` gets its client only then.
 */
async function begin(
  slow: SlowMesh,
): Promise<{ client(): Promise<number | string>; server(): Promise<number | string> }> {
  const { it } = slow;
  const late = ["cart", "pay"].map((name) => proxyOf(it.mesh, name));
  for (const { relay } of late) relay.holdToClient(true);
  await it.roots.create(B);
  await it.until("trust has grown", ({ trusted }) => trusted.includes(B));
  await it.roots.setRole(B, "active");
  await it.roots.setRole(A, "passive");
  await it.until("only cart and pay are missing", ({ holds }) => {
    const waitingFor = holds.find(({ gate }) => gate === "signer")?.waitingFor.map(({ proxy }) => proxy);
    return (
      waitingFor?.sort().join() ===
      late
        .map(({ uuid }) => uuid)
        .sort()
        .join()
    );
  });
  const client = getOnce(slow.ports.client);
  await slow.client.accepted();
  await slow.server.connectAhead(proxyOf(it.mesh, "pay").inboundPort);
  // A listener accepts in turn, so once a later connection has been served, the earlier one has its context.
  const target = it.mesh.targets().find(({ from, to }) => from === "stock" && to === "pay");
  assert.equal(await getOnce(Number(new URL(target?.url ?? "").port)), 200);
  for (const { relay } of late) relay.holdToClient(false);
  return { client: () => client, server: () => getOnce(slow.ports.server) };
}

async function verifyErrors(slow: SlowMesh): Promise<{ client: number; server: number }> {
  const count = async (name: string, stat: RegExp) => {
    const stats = await proxyOf(slow.it.mesh, name).admin.stats("ssl.fail_verify_error");
    return [...stats].reduce((sum, [key, value]) => sum + (stat.test(key) ? Number(value) : 0), 0);
  };
  return {
    client: await count("cart", new RegExp(`^cluster\\.${SLOW_PATH}\\.`)),
    server: await count("pay", /^listener\./),
  };
}
