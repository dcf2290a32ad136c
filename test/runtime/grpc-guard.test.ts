/** Against the real HTTP/2 of Node and the real grpc-js, each with and without the guard: what is mended upstream shows here. */

import assert from "node:assert/strict";
import { type ClientHttp2Session, connect, createServer, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Server, ServerCredentials, type ServerDuplexStream } from "@grpc/grpc-js";
import { guarded } from "../../src/runtime/grpc-guard.ts";
import { converse } from "../support/fuzz/conversation.ts";
import { framed } from "../support/grpc-frames.ts";

const CALLS = 40;

function client(t: TestContext, port: number): ClientHttp2Session {
  const session = connect(`http://127.0.0.1:${port}`);
  session.on("error", () => undefined);
  t.after(() => session.destroy());
  return session;
}

/** How many of CALLS calls, each reset with NO_ERROR in the middle of a response, Node has let go. */
async function letGo(t: TestContext, isGuarded: boolean): Promise<number> {
  const answered: ServerHttp2Stream[] = [];
  const inner = { _verifyContentType: () => true };
  if (isGuarded) guarded(inner);
  const verify: (...args: unknown[]) => boolean = inner._verifyContentType;
  const server = createServer();
  server.on("stream", (stream, headers) => {
    verify(stream, headers);
    stream.on("error", () => undefined);
    stream.on("data", () => {
      stream.respond({ ":status": 200 });
      // More than a window of flow control: its end has to wait for a client that has gone.
      stream.write(Buffer.alloc(200_000));
      answered.push(stream);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const session = client(t, (server.address() as AddressInfo).port);
  for (let call = 0; call < CALLS; call++) {
    const stream = session.request({ ":method": "POST", ":path": "/any" });
    stream.on("error", () => undefined);
    const response = new Promise((resolve) => stream.once("response", resolve));
    stream.write("a");
    await response;
    stream.destroy();
  }
  // A call after all of them: the server has seen them go. Then a while, because nothing tells of what doesn't happen.
  const last = session.request({ ":method": "POST", ":path": "/any" });
  last.resume();
  last.write("a");
  await new Promise((resolve) => last.once("data", resolve));
  await sleep(100);
  assert.equal(answered.length, CALLS + 1);
  return answered.slice(0, CALLS).filter(({ destroyed }) => destroyed).length;
}

test("a call that is reset with NO_ERROR in mid-response is let go", async (t) => {
  assert.equal(await letGo(t, true), CALLS);
  t.diagnostic(`without the guard Node keeps ${CALLS - (await letGo(t, false))} of ${CALLS}`);
});

test("a call that has gone before it is looked at is not answered (the fuzz test meets some)", () => {
  let looks = 0;
  const inner = { _verifyContentType: () => ++looks > 0 };
  guarded(inner);
  const verify: (...args: unknown[]) => boolean = inner._verifyContentType;
  const call = { once: () => undefined, write: () => true };
  assert.equal(verify({ ...call, destroyed: true, closed: true }, {}), false);
  assert.equal(looks, 0);
  assert.equal(verify({ ...call, destroyed: false, closed: false }, {}), true);
});

test("a call that is refused while responses are queued ends", async (t) => {
  const server = guarded(new Server());
  const answer = (call: ServerDuplexStream<number, Buffer>) => {
    call.on("error", () => undefined);
    // The first is being written, the others are queued, when the next message turns out to be undecodable.
    call.on("data", () => {
      for (let copy = 0; copy < 3; copy++) call.write(Buffer.alloc(40_000));
    });
  };
  const method = {
    path: "/test.Refusing/Talk",
    requestStream: true,
    responseStream: true,
    requestSerialize: (value: number) => Buffer.from([value]),
    requestDeserialize: (bytes: Buffer) => {
      if (bytes.length === 0) throw new Error("nothing in it");
      return bytes[0] ?? 0;
    },
    responseSerialize: (bytes: Buffer) => bytes,
    responseDeserialize: (bytes: Buffer) => bytes,
  };
  server.addService({ talk: method }, { talk: answer });
  const port = await bound(t, server);
  const session = client(t, port);
  for (let round = 0; round < CALLS; round++) {
    const chunks = [framed(Buffer.from([1])), framed(Buffer.from([2])), framed(Buffer.alloc(0))];
    const { status } = await converse(session, method.path, chunks, "half-close");
    assert.equal(status, 13);
  }
});

async function bound(t: TestContext, server: Server): Promise<number> {
  t.after(() => server.forceShutdown());
  return new Promise((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(port) : reject(error),
    );
  });
}
