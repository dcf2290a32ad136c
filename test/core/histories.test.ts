/**
 * The proof of the product: whatever happens, any two proxies that take part can talk at every moment.
 *
 * MESHROOT_HISTORIES sets how many histories run, MESHROOT_SEED replays a run. A failure prints both, and the shrunk
 * history.
 */

import { test } from "node:test";
import fc from "fast-check";
import { histories, runHistory } from "../support/model/history.ts";

const COUNT = Number(process.env["MESHROOT_HISTORIES"] ?? (process.env["CI"] === "true" ? 10_000 : 2_000));
const SEED = Number(process.env["MESHROOT_SEED"] ?? Date.now() & 0x7fffffff);

test(`no handshake ever fails, in ${COUNT} random histories (seed ${SEED})`, async () => {
  await fc.assert(
    fc.asyncProperty(histories, async (history) => {
      await runHistory(history);
    }),
    { numRuns: COUNT, seed: SEED, endOnFailure: process.env["MESHROOT_SHRINK"] === "0" },
  );
});
