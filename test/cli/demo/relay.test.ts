import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { startRelay } from "../../../src/cli/demo/relay.ts";
import { eventually } from "../../support/envoy.ts";

/** A server behind a relay, and a client in front of it, each with all that it has heard. */
async function startPair(t: TestContext) {
  const accepted: Socket[] = [];
  const server = createServer((socket) => accepted.push(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const relay = await startRelay({ port: (server.address() as AddressInfo).port });
  t.after(async () => {
    await relay.stop();
    server.close();
  });
  const open = async () => {
    const client = connect({ host: "127.0.0.1", port: relay.port });
    const before = accepted.length;
    await eventually("the connection reaches the server", () => accepted.length > before);
    const upstream = accepted[before] as Socket;
    for (const socket of [client, upstream]) socket.on("error", () => {});
    return { client, upstream, atServer: heard(upstream), atClient: heard(client) };
  };
  return { relay, open };
}

function heard(socket: Socket): () => string {
  let text = "";
  socket.on("data", (chunk) => {
    text += chunk.toString();
  });
  return () => text;
}

test("what is held one way waits, while the other way goes on; nothing is lost or reordered", async (t) => {
  const { relay, open } = await startPair(t);
  const { client, upstream, atServer, atClient } = await open();
  client.write("1");
  await eventually("free flow", () => atServer() === "1");

  relay.holdToServer(true);
  client.write("2");
  upstream.write("a");
  await eventually("the other way", () => atClient() === "a");
  // A round trip on a second connection, which is held too: by its end "2" would have come through.
  const second = await open();
  second.client.write("x");
  second.upstream.write("b");
  await eventually("the other way on a new connection", () => second.atClient() === "b");
  assert.equal(atServer(), "1");
  assert.equal(second.atServer(), "");

  client.write("3");
  relay.holdToServer(false);
  await eventually("all of it, in order", () => atServer() === "123" && second.atServer() === "x");

  relay.holdToClient(true);
  upstream.write("c");
  client.write("4");
  await eventually("requests go on", () => atServer() === "1234");
  assert.equal(atClient(), "a");
  relay.holdToClient(false);
  await eventually("answers too", () => atClient() === "ac");
});

test("a large burst through a hold arrives whole", async (t) => {
  const { relay, open } = await startPair(t);
  const { client, atServer } = await open();
  relay.holdToServer(true);
  const burst = "0123456789".repeat(400_000);
  client.write(burst);
  relay.holdToServer(false);
  await eventually("all bytes", () => atServer().length === burst.length);
  assert.equal(atServer(), burst);
});

test("cut ends every connection at both ends, also held ones, and new ones are accepted", async (t) => {
  const { relay, open } = await startPair(t);
  const { client, upstream } = await open();
  relay.holdToServer(true);
  const ends = [once(client, "close"), once(upstream, "close")];
  relay.cut();
  await Promise.all(ends);
  relay.holdToServer(false);
  await eventually("none open", () => relay.connections() === 0);
  const again = await open();
  again.client.write("hello");
  await eventually("new connection works", () => again.atServer() === "hello");
});

test("a server that is not there closes the client's connection and does not break the relay", async (t) => {
  const relay = await startRelay({ port: 1 });
  t.after(() => relay.stop());
  const client = connect({ host: "127.0.0.1", port: relay.port });
  client.on("error", () => {});
  await once(client, "close");
});
