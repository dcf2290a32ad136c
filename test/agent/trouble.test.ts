/** Why an agent can't connect, as its log says it: once, with the remedy; and the remedy works. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { proxyUri } from "../../src/core/identity.ts";
import { writeCredentials } from "../../src/envoy/credentials-dir.ts";
import type { BootstrapAnswer } from "../../src/serve/admin-api.ts";
import { agentFolder, runAgent, type TestAgent } from "../support/agent.ts";
import { startFakeAdmin } from "../support/fake-admin.ts";
import { startScriptedXds } from "../support/scripted-xds.ts";
import { prepareServer, startServer, type TestServer, until } from "../support/server.ts";
import { makeTestLeaf, makeTestRoot } from "../support/test-certificates.ts";

async function folder(t: TestContext, credentials: BootstrapAnswer): Promise<string> {
  let dir = "";
  const admin = await startFakeAdmin(t, () => join(dir, "certs"));
  dir = await agentFolder(t, { credentials, admin: admin.address });
  return dir;
}

/** The one warning of an agent that has tried several times. */
async function complaint(agent: TestAgent, message: RegExp) {
  const line = await agent.logged(message);
  assert.deepEqual([line.level, line.component], ["warn", "agent"]);
  return line;
}

/** Writes what `meshroot proxy bootstrap` into the same folder would; the agent has to take it up by itself. */
async function mend(server: TestServer, agent: TestAgent, credentials: BootstrapAnswer, dir: string): Promise<void> {
  await writeCredentials(join(dir, "certs"), credentials);
  await until("the agent is connected", () => agent.state().link.kind === "stands");
  const uuid = credentials.proxy.uuid;
  await until("the server knows", () => server.running.status().proxies.some(({ proxy }) => proxy === uuid));
}

test("a certificate of a root that the server does not trust, and a server under one that the proxy does not", async (t) => {
  const server = await startServer(t);
  const strange = await startServer(t);
  const credentials = await server.credential("cart.shop");
  const others = await strange.credential("cart.shop");
  const own = { ...credentials, certPem: others.certPem, keyPem: others.keyPem };
  const refusedIn = await folder(t, own);
  const refused = await runAgent(t, { dir: refusedIn });
  const line = await complaint(
    refused,
    /closes the connection after the handshake: it refuses this proxy's certificate/,
  );
  assert.match(String(line.hint), new RegExp(`meshroot proxy bootstrap cart.shop --out ${refusedIn}`));
  assert.equal(line.code, "MR4001");
  await server.logged(/xDS client refused: .*under a root that this mesh does not trust/);

  const unknownIn = await folder(t, { ...credentials, caPem: others.caPem });
  const unknown = await runAgent(t, { dir: unknownIn });
  const other = await complaint(unknown, /has a certificate under a root that .* does not trust/);
  assert.match(String(other.hint), /meshroot proxy bootstrap cart.shop --out/);

  await mend(server, unknown, credentials, unknownIn);
  const again = await server.credential("cart.shop");
  await mend(server, refused, again, refusedIn);
});

test("an expired certificate is called by that name", async (t) => {
  const server = await startServer(t);
  const credentials = await server.credential("cart.shop");
  const others = await (await startServer(t)).credential("cart.shop");
  const dir = await folder(t, { ...credentials, certPem: others.certPem, keyPem: others.keyPem });
  const agent = await runAgent(t, { dir, now: () => Date.now() + 60 * 86_400_000 });
  await complaint(agent, /the xDS certificate of cart.shop \(.*\) expired at 20/);
});

test("a server that is away is said once, however often it is tried", async (t) => {
  const server = await prepareServer(t);
  await server.start();
  const credentials = await server.credential("cart.shop");
  const { xdsPort } = server.running;
  await server.running.stop();
  const agent = await runAgent(t, { dir: await folder(t, credentials) });
  await complaint(agent, new RegExp(`the xDS server at 127.0.0.1:${xdsPort} is away: connect ECONNREFUSED`));
  // By the time that another agent has tried and failed, this one has tried again several times.
  for (let times = 0; times < 3; times++) {
    const other = await runAgent(t, { dir: await folder(t, credentials), xdsAddress: "127.0.0.1:1" });
    await complaint(other, /127.0.0.1:1 is away/);
  }
  const away = () => agent.log.filter(({ message }) => /is away/.test(message)).length;
  assert.equal(away(), 1);
  const { link } = agent.state();
  assert.match(link.kind === "failing" ? link.trouble : "", /is away/);
});

test("a server with another name is not trusted", async (t) => {
  const server = await startServer(t);
  const credentials = await server.credential("cart.shop");
  const agent = await runAgent(t, { dir: await folder(t, { ...credentials, serverName: "xds.example.org" }) });
  await complaint(agent, /has a certificate that is not for xds\.example\.org/);
});

test("a stream that is refused is said once, with the server's words", async (t) => {
  const root = await makeTestRoot("first");
  const xds = await startScriptedXds(t, root);
  const server = await startServer(t);
  const credentials = await server.credential("cart.shop");
  const leaf = await makeTestLeaf(root, { uris: [proxyUri(credentials.proxy)] });
  const own = { ...credentials, certPem: leaf.certPem, keyPem: leaf.keyPem, caPem: root.certPem, xdsPort: xds.port };
  const agent = await runAgent(t, { dir: await folder(t, own) });
  for (let number = 0; number < 4; number++) {
    const stream = await xds.stream(number);
    stream.end(16, "trust domain x of cart.shop is not in force");
  }
  await complaint(agent, /refuses this proxy's certificate: trust domain x of cart.shop is not in force/);
  assert.equal(agent.log.filter(({ message }) => /refuses this proxy/.test(message)).length, 1);
  assert.equal(agent.state().connections, 0, "a handshake alone is no connection");
});
