/** C5: a credential that an operator was handed is on record before it can be used, by a running server and without one. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { requestBootstrap } from "../../src/access/admin-client.ts";
import { openMesh } from "../../src/access/open-mesh.ts";
import { startRawProxy } from "../support/raw-proxy.ts";
import { FIRST, startServer, type TestServer, until } from "../support/server.ts";

const NEXT = "next";

const details = (server: TestServer) =>
  server.running
    .status()
    .holds.filter(({ gate }) => gate === "xdsControlPlane")
    .flatMap(({ waitingFor }) => waitingFor.map(({ detail }) => detail));

for (const door of ["running", "stopped"] as const) {
  test(`a bootstrap from a ${door} server holds the xDS port until its Envoy has come with it`, async (t) => {
    const server = await startServer(t);
    const old = await server.credential("cart.shop");
    startRawProxy(server, old);
    await until("synced", () => server.running.status().proxies[0]?.sync === "SYNCED");
    if (door === "stopped") await server.running.stop();
    const { serviceAccount, namespace, kind, uuid } = old.proxy;
    const request = { serviceAccount, namespace, kind, uuid };
    const handedOut = await (door === "stopped"
      ? openMesh(server.config, {}).bootstrap(request, server.config)
      : requestBootstrap(server.config.dataDir, request));
    assert.ok(handedOut !== undefined);
    if (door === "stopped") await server.start();

    // It is still on its way, and the proxy goes on with what it has.
    startRawProxy(server, old);
    await server.createRoot(NEXT);
    await server.setRole(NEXT, "active");
    await server.setRole(FIRST, "passive");
    await until("the signer has moved", () => server.running.status().signer === NEXT);
    await server.setRole(FIRST, "inactive");
    await until(`held: ${details(server)}`, () => details(server).length > 0);
    assert.deepEqual(
      details(server).map((detail) => /it was handed a credential that it has not used yet$/.test(detail)),
      [true],
    );
    startRawProxy(server, handedOut);
    await until("it is used", () => details(server).every((detail) => /no agent keeps its credentials$/.test(detail)));
  });
}
