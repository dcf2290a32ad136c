import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { MeshrootError } from "../../../src/core/errors.ts";
import { secretFiles } from "../../../src/stores/files/secret-files.ts";
import { temporaryDirectory } from "../../support/data-dir.ts";

const REF = { name: "osm-ca-bundle", namespace: "osm-system" };
const MODULE = JSON.stringify(import.meta.resolve("../../../src/stores/files/secret-files.ts"));

test("writes and reads a Kubernetes Secret, 0600", async (t) => {
  const directory = await temporaryDirectory(t);
  const store = secretFiles(directory);
  const secret = {
    ...REF,
    data: { "ca.crt": Buffer.from("cert\n"), bin: Buffer.from([0, 255, 10]) },
    labels: { a: "b" },
  };
  assert.equal(await store.read(REF), undefined);
  await store.write(secret);
  assert.deepEqual(await store.read(REF), secret);
  const path = join(directory, "osm-system", "osm-ca-bundle.yaml");
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  assert.match(await readFile(path, "utf8"), /^apiVersion: v1\nkind: Secret\n.*ca.crt: Y2VydAo=/s);
});

test("creates once, then loads what is there", async (t) => {
  const store = secretFiles(await temporaryDirectory(t));
  const [first, second] = ["first", "second"].map((text) => ({ ...REF, data: { key: Buffer.from(text) } }));
  assert.ok(first && second);
  assert.deepEqual(await store.createOrLoad(first), first);
  assert.deepEqual(await store.createOrLoad(second), first);
});

test("processes that create the same secret at once all get the same one", async (t) => {
  const directory = await temporaryDirectory(t);
  const script = `import { secretFiles } from ${MODULE};
    const mine = { ...${JSON.stringify(REF)}, data: { key: Buffer.from(String(process.pid)) } };
    process.stdout.write((await secretFiles(${JSON.stringify(directory)}).createOrLoad(mine)).data.key);`;
  const results = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const child = spawn(process.execPath, ["--input-type=module", "--eval", script], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      let output = "";
      child.stdout.on("data", (chunk) => {
        output += chunk;
      });
      await once(child, "close");
      return output;
    }),
  );
  assert.match(results[0] ?? "", /^\d+$/);
  assert.equal(new Set(results).size, 1);
});

test("removes, also twice", async (t) => {
  const store = secretFiles(await temporaryDirectory(t));
  await store.remove(REF);
  await store.write({ ...REF, data: {} });
  await store.remove(REF);
  assert.equal(await store.read(REF), undefined);
});

test("a name can't lead out of the directory", async (t) => {
  const store = secretFiles(await temporaryDirectory(t));
  for (const ref of [
    { name: "../x", namespace: "a" },
    { name: "x", namespace: ".." },
    { name: "", namespace: "a" },
  ])
    await assert.rejects(store.read(ref), { code: "MR2005" });
});

test("MR2005 says what is wrong and never what the file holds", async (t) => {
  const directory = await temporaryDirectory(t);
  await mkdir(join(directory, "osm-system"));
  const head = "kind: Secret\nmetadata: { name: osm-ca-bundle, namespace: osm-system }\n";
  const rows: [string, RegExp][] = [
    [`${head}data:\n  private.key: "SECRETKEY" SECRETKEY\n`, /YAML syntax error in line 4/],
    [`${head}data:\n  private.key: SECRETKEY!\n`, /data\["private.key"\] is not base64/],
    [`${head}data:\n  private.key: SECRETKE=A==\n`, /not base64/],
    [`${head}data: *SECRETKEY\n`, /YAML/],
    [`${head}data: SECRETKEY\n`, /data is not a map/],
    ["SECRETKEY", /not of kind Secret/],
    ["", /not of kind Secret/],
    ["kind: Secret\nmetadata: { name: other }\n", /don't say osm-system\/osm-ca-bundle/],
  ];
  for (const [text, expected] of rows) {
    await writeFile(join(directory, "osm-system", "osm-ca-bundle.yaml"), text);
    await assert.rejects(secretFiles(directory).read(REF), (error) => {
      assert.ok(error instanceof MeshrootError);
      assert.match(error.message, expected);
      assert.equal(
        `${error.stack} ${JSON.stringify(error)} ${String(error.cause)}`.includes("SECRETKEY"),
        false,
        error.message,
      );
      return error.code === "MR2005";
    });
  }
});
