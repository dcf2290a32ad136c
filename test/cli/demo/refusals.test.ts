import assert from "node:assert/strict";
import { test } from "node:test";
import { countRefusals } from "../../../src/cli/demo/refusals.ts";

/** Answers as Envoy does: the statistics whose name the expression finds. */
function admin(all: Readonly<Record<string, number>>) {
  const found = (filter = "") => Object.entries(all).filter(([name]) => new RegExp(filter).test(name));
  return { stats: async (filter?: string) => new Map(found(filter)) };
}

test("certificates that did not verify and secrets that were missing count, slowness and the way to the server don't", async () => {
  const one = admin({
    "listener.127.0.0.1_20001.ssl.fail_verify_error": 1,
    "listener.127.0.0.1_20001.ssl.fail_verify_no_cert": 10,
    "listener.127.0.0.1_20001.server_ssl_socket_factory.downstream_context_secrets_not_ready": 100,
    "listener.127.0.0.1_20001.ssl.handshake": 7,
    "cluster.bookstore.upstream_cx_connect_timeout": 7,
    "cluster.meshroot_xds.ssl.fail_verify_error": 7,
  });
  const other = admin({
    "cluster.mysql.ssl.fail_verify_san": 1_000,
    "cluster.mysql.client_ssl_socket_factory.upstream_context_secrets_not_ready": 10_000,
  });
  assert.equal(await countRefusals([one, other]), 11_111);
  assert.equal(await countRefusals([]), 0);
});

test("an Envoy that can't be asked leaves the number unknown", async () => {
  const dead = { stats: () => Promise.reject(new Error("connection refused")) };
  assert.equal(await countRefusals([admin({}), dead]), undefined);
});
