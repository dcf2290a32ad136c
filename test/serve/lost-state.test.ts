/** D4: every combination of lost and damaged files has its answer, with a code and a hint, and nothing is overwritten. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { chmod, chown, cp, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { loadLedger, loadTrust } from "../../src/controller/durable-state.ts";
import type { ErrorCode } from "../../src/core/errors.ts";
import { stateFiles } from "../../src/stores/files/state-files.ts";
import { temporaryDirectory } from "../support/data-dir.ts";
import { startRawProxy } from "../support/raw-proxy.ts";
import { FIRST, prepareServer, startServer, type TestServer, until } from "../support/server.ts";

const TRUST = "state/trust.json";
const BACKUP = "state/trust.json.bak";
const LEDGER = "state/ledger.jsonl";
const STATE = [TRUST, BACKUP, LEDGER];

type Harm = (path: string, dataDir: string) => Promise<unknown>;
const HARMS: Readonly<Record<string, Harm>> = {
  "in order": async () => undefined,
  gone: (path) => rm(path, { recursive: true }),
  empty: (path) => writeFile(path, ""),
  "NUL bytes": (path) => writeFile(path, "\0".repeat(512)),
  garbage: (path) => writeFile(path, "garbage\n"),
  "a folder": async (path) => {
    await rm(path);
    await mkdir(path);
  },
};

/** A data directory of a mesh that has run: one proxy with a leaf, two roots, and so a backup of the trust. */
async function usedDirectory(t: TestContext): Promise<string> {
  const server = await startServer(t);
  const proxy = startRawProxy(server, await server.credential("cart.shop"));
  await until("it is in sync", () => server.running.status().proxies[0]?.sync === "SYNCED");
  await server.createRoot("next");
  await until("the backup is there", () => server.running.status().generation === 2);
  proxy.leave();
  await until("the proxy is gone", () => server.running.status().proxies[0]?.connected === false);
  await server.running.stop();
  const kept = join(await temporaryDirectory(t), "kept");
  await cp(server.config.dataDir, kept, { recursive: true, filter: (path) => !/\.(sock|lock)$/.test(path) });
  return kept;
}

async function copyOf(t: TestContext, used: string): Promise<string> {
  const path = join(await temporaryDirectory(t), "data");
  await cp(used, path, { recursive: true, mode: 0 });
  return path;
}

/** Path and digest of every file; folders by name. */
async function contents(directory: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name of await readdir(directory, { recursive: true })) {
    const path = join(directory, name);
    const isFile = (await stat(path)).isFile();
    found[name] = isFile
      ? createHash("sha256")
          .update(await readFile(path))
          .digest("hex")
      : "folder";
  }
  return found;
}

/** What has to be said of the state files in these conditions: MR2004, or what is loaded. */
function expected(trust: string, backup: string, ledger: string): "MR2004" | "a mesh" | "a new mesh" {
  if (trust === "in order") return ledger === "in order" ? "a mesh" : "MR2004";
  // A crash of the very first start leaves an empty ledger.
  const isNew = trust === "gone" && backup === "gone" && (ledger === "gone" || ledger === "empty");
  return isNew ? "a new mesh" : "MR2004";
}

test("D4: all combinations of trust.json, its copy and the ledger, each in order, gone or damaged", async (t) => {
  const used = await usedDirectory(t);
  const where = await temporaryDirectory(t);
  let run = 0;
  for (const trust of Object.keys(HARMS))
    for (const backup of Object.keys(HARMS))
      for (const ledger of Object.keys(HARMS)) {
        const what = `trust.json ${trust}, its copy ${backup}, ledger ${ledger}`;
        const path = join(where, `${run++}`);
        await cp(join(used, "state"), join(path, "state"), { recursive: true });
        for (const [index, harm] of [trust, backup, ledger].entries())
          await HARMS[harm]?.(join(path, STATE[index] ?? ""), path);
        const before = await contents(path);
        const state = stateFiles(join(path, "state"));
        const result = await loadTrust(state)
          .then(
            async (document) => {
              if (document === undefined) return "a new mesh";
              const rows = await loadLedger(state, Date.now());
              return rows.proxies.size === 1 && document.trust.generation === 2 ? "a mesh" : "something else";
            },
            (error: unknown) => error,
          )
          .catch((error: unknown) => error);
        const wanted = expected(trust, backup, ledger);
        if (wanted === "MR2004") {
          const { code, hint, message } = result as { code?: string; hint?: string; message?: string };
          assert.equal(code, "MR2004", `${what}: ${String(result)}`);
          assert.match(hint ?? "", /[Bb]ackup|\.bak/, what);
          assert.match(message ?? "", /trust|ledger/, what);
        } else assert.equal(result, wanted, what);
        await state.close();
        assert.deepEqual(await contents(path), before, `${what}: nothing was written`);
      }
  assert.equal(run, Object.keys(HARMS).length ** 3);
});

type Json = Record<string, unknown>;
const editJson =
  (change: (document: { trust: Json } & Json) => unknown): Harm =>
  async (path) => {
    const document = JSON.parse(await readFile(path, "utf8"));
    change(document);
    await writeFile(path, JSON.stringify(document));
  };
const editRow =
  (change: (row: Json, line: Json) => unknown): Harm =>
  async (path) => {
    const lines = (await readFile(path, "utf8")).trimEnd().split("\n");
    const last = JSON.parse(lines.pop() ?? "");
    change(last.v, last);
    await writeFile(path, `${[...lines, JSON.stringify(last)].join("\n")}\n`);
  };
const set = (object: Json, field: string, value: unknown) => Object.assign(object, { [field]: value });
const drop = (object: unknown, field: string) => delete (object as Json)[field];
const gone =
  (...paths: readonly string[]): Harm =>
  async (_path, dataDir) => {
    for (const one of paths) await rm(join(dataDir, one), { recursive: true });
  };

/** What is done to which file, and the code, message and hint of the refusal to start. */
const REFUSED: readonly (readonly [what: string, path: string, harm: Harm, ErrorCode, RegExp, RegExp])[] = [
  [
    "trust and its copy gone",
    TRUST,
    gone(TRUST, BACKUP),
    "MR2004",
    /trust.json: it is gone, and the ledger is there/,
    /backup/,
  ],
  ["trust gone", TRUST, gone(TRUST), "MR2004", /only its backup is there/, /trust.json.bak/],
  ["ledger gone", LEDGER, gone(LEDGER), "MR2004", /ledger.jsonl: it is gone/, /Restore the file from a backup/],
  [
    "trust cut off",
    TRUST,
    async (path) => writeFile(path, (await readFile(path)).subarray(0, 300)),
    "MR2004",
    /not JSON/,
    /\.bak/,
  ],
  ["a list for a trust", TRUST, (path) => writeFile(path, "[]"), "MR2004", /holds no object/, /\.bak/],
  ["an empty object", TRUST, (path) => writeFile(path, "{}"), "MR2004", /format undefined/, /version that wrote it/],
  [
    "a format of tomorrow",
    TRUST,
    editJson((it) => set(it, "format", 2)),
    "MR2004",
    /format 2/,
    /version that wrote it/,
  ],
  ["no trust", TRUST, editJson((it) => drop(it, "trust")), "MR2004", /trust is missing/, /\.bak/],
  ["no signer", TRUST, editJson(({ trust }) => drop(trust, "signer")), "MR2004", /trust\.signer is missing/, /\.bak/],
  ["no mesh", TRUST, editJson(({ trust }) => drop(trust, "mesh")), "MR2004", /trust\.mesh is missing/, /\.bak/],
  ["no xds", TRUST, editJson(({ trust }) => drop(trust, "xds")), "MR2004", /trust\.xds is missing/, /\.bak/],
  ["no roots", TRUST, editJson(({ trust }) => drop(trust, "roots")), "MR2004", /trust\.roots is missing/, /\.bak/],
  [
    "no generation",
    TRUST,
    editJson(({ trust }) => drop(trust, "generation")),
    "MR2004",
    /trust\.generation is missing/,
    /\.bak/,
  ],
  [
    "half a generation",
    TRUST,
    editJson(({ trust }) => set(trust, "generation", 1.5)),
    "MR2004",
    /generation is no whole/,
    /\.bak/,
  ],
  [
    "an id in mesh that nobody has",
    TRUST,
    editJson(({ trust }) => void (trust.mesh as string[]).push("nobody")),
    "MR2004",
    /no record of root nobody/,
    /\.bak/,
  ],
  [
    "a signer that nobody has",
    TRUST,
    editJson(({ trust }) => set(trust, "signer", "nobody")),
    "MR2004",
    /no record of root nobody/,
    /\.bak/,
  ],
  [
    "a signer outside the bundle",
    TRUST,
    editJson(({ trust }) => void (trust.mesh as string[]).shift()),
    "MR2004",
    /signer is not in trust.mesh/,
    /\.bak/,
  ],
  [
    "a mesh that xDS refuses",
    TRUST,
    editJson(({ trust }) => void (trust.xds as string[]).pop()),
    "MR2004",
    /is not in trust.xds/,
    /\.bak/,
  ],
  [
    "a root under another id",
    TRUST,
    editJson(({ trust }) => void Object.assign(Object.values(trust.roots as Json)[0] as Json, { id: "x" })),
    "MR2004",
    /another one's/,
    /\.bak/,
  ],
  [
    "another certificate",
    TRUST,
    editJson(({ trust }) => {
      const [one, two] = Object.values(trust.roots as Record<string, Json>);
      if (one && two) one.certificatePem = two.certificatePem;
    }),
    "MR2004",
    new RegExp(`certificate of root ${FIRST} is not the one`),
    /\.bak/,
  ],
  [
    "no certificate",
    TRUST,
    editJson(({ trust }) => void Object.assign(Object.values(trust.roots as Json)[0] as Json, { certificatePem: "" })),
    "MR2004",
    /is not the one/,
    /\.bak/,
  ],
  ["no authorities", TRUST, editJson((it) => drop(it, "authorities")), "MR2004", /authorities is missing/, /\.bak/],
  [
    "a row without slots",
    LEDGER,
    editRow((row) => drop(row, "slots")),
    "MR2004",
    /slots is missing/,
    /Restore ledger.jsonl/,
  ],
  [
    "a row without identity",
    LEDGER,
    editRow((row) => drop(row, "identity")),
    "MR2004",
    /identity is missing/,
    /Restore ledger.jsonl/,
  ],
  [
    "a row without auth",
    LEDGER,
    editRow((row) => drop(row, "auth")),
    "MR2004",
    /auth is missing/,
    /Restore ledger.jsonl/,
  ],
  [
    "a slot that is text",
    LEDGER,
    editRow((row) => set(row, "slots", ["x"])),
    "MR2004",
    /slots\.0 is no object/,
    /Restore ledger.jsonl/,
  ],
  [
    "a content without roots",
    LEDGER,
    editRow((row) => {
      const slots = row.slots as { mayRun: Json[] }[];
      for (const { mayRun } of slots) for (const content of mayRun) drop(content, "roots");
    }),
    "MR2004",
    /roots is missing/,
    /Restore ledger.jsonl/,
  ],
  [
    "a leaf without an end",
    LEDGER,
    editRow((row) => {
      const slots = row.slots as { mayRun: Json[] }[];
      for (const { mayRun } of slots) for (const content of mayRun) drop(content, "notAfter");
    }),
    "MR2004",
    /notAfter is missing/,
    /Restore ledger.jsonl/,
  ],
  [
    "a row under another's key",
    LEDGER,
    editRow((_row, line) => set(line, "k", "other")),
    "MR2004",
    /row of other is that of/,
    /Restore ledger.jsonl/,
  ],
  [
    "a row that is text",
    LEDGER,
    editRow((_row, line) => set(line, "v", "x")),
    "MR2004",
    /row of .* is no object/,
    /Restore ledger.jsonl/,
  ],
  ["the lock is a folder", "lock", (path) => mkdir(path), "MR2001", /lock is not a lock that meshroot wrote/, /delete/],
  [
    "the lock is empty",
    "lock",
    (path) => writeFile(path, ""),
    "MR2001",
    /lock is not a lock that meshroot wrote/,
    /delete/,
  ],
  ["roots is a file", "roots", fileFor, "MR2002", /roots: it is a file, where a directory should be/, /--data-dir/],
  ["secrets is a file", "secrets", fileFor, "MR2002", /secrets: it is a file/, /--data-dir/],
  ["state is a file", "state", fileFor, "MR2002", /state: it is a file/, /--data-dir/],
  ["services.yaml is a folder", "services.yaml", (path) => mkdir(path), "MR2006", /services.yaml.*EISDIR/, /services?/],
  ["admin.sock is a folder", "admin.sock", (path) => mkdir(path), "MR2002", /admin.sock/, /[Rr]emove/],
  ["grpc.sock is a folder", "grpc.sock", (path) => mkdir(path), "MR2002", /grpc.sock/, /[Rr]emove/],
];

async function fileFor(path: string): Promise<void> {
  await rm(path, { recursive: true });
  await writeFile(path, "");
}

async function refused(server: TestServer, what: string): Promise<Error & { code?: string; hint?: string }> {
  return server.start().then(
    () => assert.fail(`${what}: it started`),
    (error: unknown) => error as Error,
  );
}

test("D4: damaged in one place, the server does not start, says why, and writes nothing", async (t) => {
  const used = await usedDirectory(t);
  for (const [what, file, harm, code, message, hint] of REFUSED) {
    const path = await copyOf(t, used);
    await harm(join(path, file), path);
    const before = await contents(path);
    const error = await refused(await prepareServer(t, { dataDir: path }), what);
    assert.equal(error.code, code, `${what}: ${error.stack}`);
    assert.match(error.message, message, what);
    assert.match(error.hint ?? "", hint, what);
    assert.match(error.hint ?? "", /^["`A-Z].*[.?]$/, `${what}: a sentence`);
    assert.deepEqual(await contents(path), before, `${what}: nothing was written`);
  }
});

/** Lost and not needed to go on: the server starts; a hold with this text says what is missing, if anything is. */
const STARTED: readonly (readonly [what: string, path: string, harm: Harm, hold: RegExp | undefined])[] = [
  ["the copy of the trust gone", BACKUP, gone(BACKUP), undefined],
  ["the copy of the trust damaged", BACKUP, (path) => writeFile(path, "{"), undefined],
  ["a torn row", LEDGER, async (path) => writeFile(path, `${await readFile(path, "utf8")}{"k":"x`), undefined],
  [
    "NUL bytes behind the ledger",
    LEDGER,
    async (path) => writeFile(path, `${await readFile(path, "utf8")}\0\0\0`),
    undefined,
  ],
  ["our own certificate lost", "secrets", (path) => rm(join(path, "osm-system/meshroot-xds-server.yaml")), undefined],
  [
    "our own certificate damaged",
    "secrets",
    (path) => writeFile(join(path, "osm-system/meshroot-xds-server.yaml"), "\0"),
    undefined,
  ],
  ["roots gone", "roots", gone("roots"), /MR1007 .*last good trust stays/],
  ["one root gone", "roots", (path) => rm(join(path, `${FIRST}.yaml`)), /MR1007|no root would/],
  ["one root empty", "roots", (path) => writeFile(join(path, `${FIRST}.yaml`), ""), /MR/],
  ["secrets gone", "secrets", gone("secrets"), /MR2005 .*is gone/],
  ["roots and secrets gone", "roots", gone("roots", "secrets"), /MR/],
  ["a CA secret empty", "secrets", (path) => writeFile(join(path, "osm-system/osm-ca-bundle.yaml"), ""), /MR2005/],
];

test("D4: what can be done without is done without, and what is missing is held by name", async (t) => {
  const used = await usedDirectory(t);
  for (const [what, file, harm, message] of STARTED) {
    const path = await copyOf(t, used);
    await harm(join(path, file), path);
    const server = await prepareServer(t, { dataDir: path });
    await server.start().catch((error: Error) => assert.fail(`${what}: ${error.stack}`));
    await until(
      `${what}: planned`,
      () => message === undefined || server.running.status().holds.some((hold) => message.test(hold.message)),
    );
    const { signer, generation, proxies } = server.running.status();
    assert.deepEqual([signer, generation, proxies.length], [FIRST, 2, 1], what);
    await server.running.stop();
  }
});

test("D4: a file of another user: whose it has to be", async (t) => {
  const used = await usedDirectory(t);
  const isRoot = process.getuid?.() === 0;
  const somebody = 65_534;
  for (const file of [TRUST, LEDGER, "state", "secrets"]) {
    const path = await copyOf(t, used);
    if (isRoot) {
      await chmod(dirname(path), 0o755);
      for (const name of ["", ...(await readdir(path, { recursive: true }))])
        await chown(join(path, name), somebody, somebody);
      await chown(join(path, file), 0, 0);
    } else await chmod(join(path, file), 0);
    const server = await prepareServer(t, { dataDir: path });
    try {
      if (isRoot) process.seteuid?.(somebody);
      const error = await refused(server, file);
      assert.equal(error.code, file.includes(".") ? "MR2004" : "MR2002", `${file}: ${error.stack}`);
      assert.match(error.hint ?? "", new RegExp(`${file}.*chown`), file);
    } finally {
      if (isRoot) process.seteuid?.(0);
      else await chmod(join(path, file), 0o700);
    }
  }
});
