/**
 * What a verdict means for the mesh (R81, R83-R86, T15), between one proxy (C) and the standalone server (S), in delta and in
 * SotW, each on its own service and over ADS.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { bytesOf, versionOf as deltaVersionOf, messages, startConformance } from "../support/delta-conformance.ts";
import { FIRST, type TestServer, until } from "../support/server.ts";
import type { Response, XdsTestClient } from "../support/xds-client.ts";

const NEXT = "next";
const BUNDLE = "ROOTCA";
const LEAF = "default";
const MISMATCH = "Failed to load private key from <inline>, Cause: KEY_VALUES_MISMATCH";
/** Past the renewal of a leaf of 24 hours, before its end. */
const RENEWAL_MS = 20 * 3_600_000;

type Answering = {
  next(matches?: (response: Response) => boolean, timeoutMs?: number): Promise<Response>;
  ack(): void;
  nack(message: string): void;
  cancel(): Promise<unknown>;
};

const VARIANTS: readonly {
  service: string;
  /** `held`: what a client that comes back says that it accepted last; SotW says it of one name only. */
  begin: (client: XdsTestClient, names: readonly string[], held?: string) => Answering;
}[] = [
  { service: "DeltaSecrets", begin: (client, names, held) => delta(client.deltaSecrets(), names, held) },
  { service: "DeltaAggregatedResources", begin: (client, names, held) => delta(client.deltaAds(), names, held) },
  { service: "StreamSecrets", begin: (client, names, held) => sotw(client.secrets(), names, held) },
  { service: "StreamAggregatedResources", begin: (client, names, held) => sotw(client.ads(), names, held) },
];

function delta(stream: ReturnType<XdsTestClient["deltaSecrets"]>, names: readonly string[], held?: string): Answering {
  const [name = ""] = names;
  return stream.request({ subscribe: names, ...(held === undefined ? {} : { initialVersions: { [name]: held } }) });
}

function sotw(stream: ReturnType<XdsTestClient["secrets"]>, names: readonly string[], held?: string): Answering {
  return stream.request({ names, ...(held === undefined ? {} : { version: held }) });
}

const nameOf = ({ secrets: [secret] }: Response) => secret?.name;
const versionOf = (response: Response) => deltaVersionOf(response) || response.version;

/** The next response has to be this one. */
async function comes(stream: Answering, name: string, bytes?: "plain" | "unique"): Promise<Response> {
  const response = await stream.next();
  assert.equal(nameOf(response), name);
  if (bytes !== undefined) assert.equal(bytesOf(response), bytes, name);
  return response;
}

/** Accepts everything from now on; what came, in order. */
function answerAll(stream: Answering): readonly Response[] {
  const answers: Response[] = [];
  void (async () => {
    for (;;) {
      const response = await stream.next(undefined, 3_600_000).catch(() => undefined);
      if (response === undefined) return;
      answers.push(response);
      stream.ack();
    }
  })();
  return answers;
}

async function rotateTo(server: TestServer, name: string): Promise<void> {
  await server.setRole(name, "active");
  await server.setRole(FIRST, "passive");
}

for (const { service, begin } of VARIANTS) {
  test(`${service}: blame shifts: the NACK of a good bundle is a verdict on the set; mended, the bundle is proven anew, and the gate opens (T15, R83, R84, R85, R81)`, async (t) => {
    const { server, client, counted, row } = await startConformance(t);
    const sync = (wanted: string) => until(wanted, () => row()?.sync === wanted);
    const stream = begin(client, [BUNDLE, LEAF]);
    await comes(stream, BUNDLE);
    stream.ack();
    // C: the leaf is bad for this proxy, but no context has both yet: it is ACKed unseen.
    const leaf = await comes(stream, LEAF);
    stream.ack();
    await sync("SYNCED");

    await server.createRoot(NEXT);
    const bundle = await comes(stream, BUNDLE);
    stream.nack(MISMATCH);
    await sync("ERROR");
    assert.match(row()?.error ?? "", /KEY_VALUES_MISMATCH/);
    assert.deepEqual(row()?.trusts, [FIRST], "the refused bundle may run, and so may the one before it (E6)");
    assert.equal(row()?.versions[LEAF], versionOf(leaf), "the leaf's ACK stands, and is no proof of the set (E12)");
    await rotateTo(server, NEXT);
    await until("the signer is held", () =>
      server.running.status().holds.some(({ gate, reason }) => gate === "signer" && reason === "Refused"),
    );
    // Repeating the answer changes nothing, and neither does an ACK after it (R83, E4).
    stream.nack("another text");
    stream.ack();
    await counted("request", 6);
    assert.deepEqual([await messages(server, "nack"), await messages(server, "ack")], [1, 2]);
    assert.match(row()?.error ?? "", /KEY_VALUES_MISMATCH/);

    // S: a good leaf, because the old one is due. C takes all that comes now. The bundle comes back with the same meaning in
    // bytes that Envoy can't skip, and its ACK is what the gate has waited for.
    const answers = answerAll(stream);
    server.shiftClock(RENEWAL_MS);
    await until("the signer moves", () => server.running.status().signer === NEXT);
    const back = answers.find((response) => nameOf(response) === BUNDLE);
    assert.ok(back);
    assert.deepEqual([versionOf(back), bytesOf(back)], [versionOf(bundle), "unique"]);
    assert.ok(
      answers.some((response) => nameOf(response) === LEAF && versionOf(response) !== versionOf(leaf)),
      "and the leaf is another one",
    );
    await sync("SYNCED");
    assert.equal(row()?.error, undefined);
  });

  test(`${service}: a refused leaf may be what runs: its proxy presents both roots, and neither leaves (R84, R81)`, async (t) => {
    const { server, client, row } = await startConformance(t);
    const stream = begin(client, [BUNDLE, LEAF]);
    for (const name of [BUNDLE, LEAF]) {
      await comes(stream, name);
      stream.ack();
    }
    await server.createRoot(NEXT);
    await comes(stream, BUNDLE);
    stream.ack();
    await rotateTo(server, NEXT);
    // The bundle has another generation, because the order of its roots has changed; it may come before the leaf.
    let response = await stream.next();
    while (nameOf(response) === BUNDLE) {
      stream.ack();
      response = await stream.next();
    }
    assert.equal(nameOf(response), LEAF);
    stream.nack(MISMATCH);
    await until("the refusal counts", () => row()?.sync === "ERROR");
    assert.deepEqual([...(row()?.signedBy ?? [])].sort(), [FIRST, NEXT].sort());
    await server.setRole(FIRST, "inactive");
    await until("its root is held", () =>
      server.running.status().holds.some(({ reason, waitingFor }) => reason === "Refused" && waitingFor.length === 1),
    );
    assert.deepEqual([...server.running.status().trusted].sort(), [FIRST, NEXT].sort());
  });

  test(`${service}: refused bytes never come back: not on this stream, not on the next, not from the next process (R85, R21, T9, T16)`, async (t) => {
    const { server, client, connect, counted, row } = await startConformance(t);
    const first = begin(client, [BUNDLE]);
    const bundle = await comes(first, BUNDLE);
    first.nack("no good");
    await counted("nack", 1);
    await first.cancel();
    await until("it is gone", () => row()?.connected === false);

    // Within the pause nothing of it comes: what comes is another name, asked for after it (E5).
    const second = begin(client, [BUNDLE, "nobody", "ALL"]);
    let response = await second.next();
    if (response.removed.length > 0) {
      second.ack();
      response = await second.next();
    }
    assert.equal(nameOf(response), "ALL");
    // An ACK of another secret of the proxy ends the pause.
    second.ack();
    const again = await comes(second, BUNDLE, "unique");
    assert.equal(versionOf(again), versionOf(bundle));
    second.nack("no good");
    await counted("nack", 2);

    await server.running.stop();
    await server.start();
    const third = begin(connect(), [BUNDLE], versionOf(bundle));
    server.shiftClock(31 * 60_000);
    const last = await comes(third, BUNDLE, "unique");
    assert.equal(versionOf(last), versionOf(bundle));
    assert.notDeepEqual(last.secrets, again.secrets);
  });

  test(`${service}: bytes are unique at first, plain after an ACK, unique after an answer that never came (R85)`, async (t) => {
    const { server, client, counted, setServices, row } = await startConformance(t, { "shop/pay": ["pay.shop"] });
    const pay = "root-cert-for-mtls-outbound:shop/pay";
    const stream = begin(client, [pay]);
    await comes(stream, pay, "unique");
    stream.ack();
    await counted("ack", 1);
    await setServices({ "shop/pay": ["pay2.shop"] });
    await comes(stream, pay, "plain");
    // No answer. A newer content takes its place after 30 s, and can't know what the client made of the last one.
    await setServices({ "shop/pay": ["pay3.shop"] });
    await until("the newer one is wanted", () => row()?.sync === "STALE");
    server.shiftClock(31_000);
    await comes(stream, pay, "unique");
    await counted("superseded", 1);
  });

  test(`${service}: SYNCED asks for what can be delivered, and for nothing else (R86)`, async (t) => {
    const { client, counted, row } = await startConformance(t);
    const stream = begin(client, ["nobody", "service-cert:shop/pay", BUNDLE, LEAF]);
    const names: (string | undefined)[] = [];
    while (names.length < 2) {
      const response = await stream.next();
      assert.notEqual(row()?.sync, "SYNCED");
      if (response.removed.length === 0) names.push(nameOf(response));
      stream.ack();
    }
    assert.deepEqual(names.sort(), [BUNDLE, LEAF].sort());
    await until("SYNCED", () => row()?.sync === "SYNCED");
    assert.deepEqual([...(row()?.unknownNames ?? [])].sort(), ["nobody", "service-cert:shop/pay"]);
    await counted("ack", 2);
  });
}
