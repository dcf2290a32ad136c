import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { watchFiles } from "../../../src/stores/files/watch-files.ts";
import { temporaryDirectory } from "../../support/data-dir.ts";

const POLL_MS = 5_000;

test("what may have changed while it was read is read again at once, once, and reads never overlap", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const goOn = Promise.withResolvers<void>();
  const seen: number[] = [];
  let reads = 0;
  const read = async () => {
    const mine = ++reads;
    if (mine === 2) await goOn.promise;
    return mine;
  };
  const watch = await watchFiles(await temporaryDirectory(t), read, (value) => seen.push(value), { pollMs: POLL_MS });
  t.after(() => watch.close());
  assert.deepEqual(seen, [1]);
  for (let looks = 0; looks < 3; looks++) t.mock.timers.tick(POLL_MS);
  assert.equal(reads, 2);
  goOn.resolve();
  await turn();
  assert.deepEqual(seen, [1, 2, 3]);
});

test("a value that says the same is no change, however often it is read", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const seen: unknown[] = [];
  let value = { names: new Map([["a", 1]]) };
  const read = async () => structuredClone(value);
  const watch = await watchFiles(await temporaryDirectory(t), read, (read) => seen.push(read), { pollMs: POLL_MS });
  t.after(() => watch.close());
  t.mock.timers.tick(POLL_MS);
  await turn();
  assert.equal(seen.length, 1);
  value = { names: new Map([["a", 2]]) };
  t.mock.timers.tick(POLL_MS);
  await turn();
  assert.equal(seen.length, 2);
});
