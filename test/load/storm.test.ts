/** A mesh that comes back all at once (R77): real mTLS, a connection for each proxy, and not one certificate more. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { BootstrapAnswer } from "../../src/serve/admin-api.ts";
import { issuedLeaves } from "../support/issued-leaves.ts";
import { startServer, type TestServer, until } from "../support/server.ts";
import type { Response, XdsTestClient } from "../support/xds-client.ts";

const PROXIES = 500;
const LEAF = "default";
const VARIANTS = ["sotw", "delta", "ads", "deltaAds"] as const;
type Variant = (typeof VARIANTS)[number];

type Member = {
  readonly credentials: BootstrapAnswer;
  readonly variant: Variant;
  version: string;
  client: XdsTestClient;
  leave: () => Promise<unknown>;
};

const versionOf = (response: Response) => response.resources[0]?.version || response.version;

/** One connection and one stream for the leaf, which says what the proxy holds as Envoy would; accepts what comes. */
function connect(server: TestServer, member: Member) {
  const { variant, version, credentials } = member;
  const node = { node: { id: credentials.proxy.uuid } };
  member.client = server.client(credentials);
  const subscribe = [LEAF];
  const initialVersions = version === "" ? {} : { [LEAF]: version };
  const stream = {
    sotw: () => member.client.secrets(node).request({ names: [LEAF], version }),
    // As of a real one its version is that of the last response, whichever of its secrets that brought.
    ads: () => member.client.ads(node).request({ names: ["ROOTCA", LEAF], version }),
    delta: () => member.client.deltaSecrets(node).request({ subscribe, initialVersions }),
    deltaAds: () => member.client.deltaAds(node).request({ subscribe, initialVersions }),
  }[variant]();
  member.leave = async () => {
    await stream.cancel();
    member.client.close();
  };
  return stream;
}

/** Accepts what comes, up to the leaf; returns its version. */
async function takeLeaf(stream: ReturnType<typeof connect>): Promise<string> {
  for (;;) {
    const response = await stream.next(undefined, 60_000);
    stream.ack();
    if (response.secrets[0]?.name === LEAF) return versionOf(response);
  }
}

async function enlist(server: TestServer, count: number): Promise<Member[]> {
  const members: Member[] = [];
  // A few at a time: the point is the storm afterwards.
  for (let first = 0; first < count; first += 25) {
    const some = Array.from({ length: Math.min(25, count - first) }, (_, index) => first + index);
    members.push(
      ...(await Promise.all(
        some.map(async (number) => {
          const credentials = await server.credential("cart.shop");
          const variant = VARIANTS[number % VARIANTS.length] as Variant;
          const member: Member = {
            credentials,
            variant,
            version: "",
            client: server.client(credentials),
            leave: async () => undefined,
          };
          // Its bucket of certificates fills with the clock.
          server.shiftClock(20);
          member.version = await takeLeaf(connect(server, member));
          return member;
        }),
      )),
    );
  }
  return members;
}

const allHere = (server: TestServer, here: boolean) =>
  until(`every proxy is ${here ? "here" : "gone"}`, () =>
    server.running.status().proxies.every(({ connected }) => connected === here),
  );

test(`${PROXIES} proxies reconnect at once, of every variant: no certificate is made (R77)`, async (t) => {
  const server = await startServer(t);
  const members = await enlist(server, PROXIES);
  assert.equal(await issuedLeaves(server.running), PROXIES);
  await Promise.all(members.map(({ leave }) => leave()));
  await allHere(server, false);

  const before = members.map(({ version }) => version);
  const streams = members.map((member) => ({ member, stream: connect(server, member) }));
  await allHere(server, true);
  // In SotW each is answered, with the leaf that it has; in delta what it holds goes on, and nothing is sent.
  for (const { member, stream } of streams) {
    if (member.variant === "delta" || member.variant === "deltaAds") continue;
    assert.equal(await takeLeaf(stream), member.version);
  }
  await until("all are in sync", () => server.running.status().proxies.every(({ sync }) => sync === "SYNCED"));
  assert.equal(await issuedLeaves(server.running), PROXIES, "not one more");
  assert.deepEqual(
    members.map(({ version }) => version),
    before,
  );
});

test("after a restart, too, but for SotW over ADS, which can't say what it holds (R77, E15)", async (t) => {
  const server = await startServer(t);
  const members = await enlist(server, 40);
  await until("all are in sync", () => server.running.status().proxies.every(({ sync }) => sync === "SYNCED"));
  await server.running.stop();
  await server.start();
  assert.equal(await issuedLeaves(server.running), 0);
  const streams = members.map((member) => ({ member, stream: connect(server, member) }));
  for (const { member, stream } of streams) {
    if (member.variant === "ads") assert.notEqual(await takeLeaf(stream), member.version);
  }
  await until("all are in sync again", () => server.running.status().proxies.every(({ sync }) => sync === "SYNCED"));
  assert.equal(await issuedLeaves(server.running), members.filter(({ variant }) => variant === "ads").length);
  for (const { member, stream } of streams) if (member.variant !== "ads") assert.equal(stream.received.length, 0);
});
