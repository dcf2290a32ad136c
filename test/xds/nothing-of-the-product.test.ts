/** `meshroot/xds` is for any control plane: nothing in it is about this product. */

import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { MeshrootError } from "../../src/core/errors.ts";
import { type RefusedClient, XdsServer } from "../../src/xds/index.ts";
import { SERVER_NAME, startGenericXds } from "../support/generic-xds.ts";
import { importsOf } from "../support/layers.ts";
import { until } from "../support/server.ts";
import { xdsClient } from "../support/xds-client.ts";

const XDS = new URL("../../src/xds/", import.meta.url).pathname;

const OF_THE_PRODUCT: Readonly<Record<string, RegExp>> = {
  "its name": /meshroot(?!\/xds`)/,
  "a flag of its commands": /(?<![-\w])--[a-z]/,
  "its HTTP port": /\/health\b|\/metrics\b/,
  "a word of its own": /\bMRCs?\b|\bbootstrap|\brotation\b|\boperator\b|\bagent\b/i,
};

/** The errors and the small functions of the core; what Node and gRPC give. */
const MAY_IMPORT = /^(\.\/[\w-]+|\.\.\/core\/[\w-]+|\.\.\/runtime\/[\w-]+)\.ts$|^node:|^@grpc\/grpc-js$/;

const ofTheProduct = (text: string) =>
  Object.entries(OF_THE_PRODUCT).flatMap(([what, words]) => {
    const found = words.exec(text);
    return found === null ? [] : [`${what}: ${found[0]}`];
  });

const foreignImports = (text: string) => importsOf(text).filter((specifier) => !MAY_IMPORT.test(specifier));

const sources = globSync("**/*.ts", { cwd: XDS }).map((file) => ({
  file,
  text: readFileSync(join(XDS, file), "utf8"),
}));

test("no word of the product, in code or comment", () => {
  assert.ok(sources.length > 10);
  for (const { file, text } of sources) assert.deepEqual(ofTheProduct(text), [], file);
});

test("no import but of the layer itself, of the core's small functions and of src/runtime", () => {
  for (const { file, text } of sources) assert.deepEqual(foreignImports(text), [], file);
});

test("such words and imports are found", () => {
  const samples = [
    "`meshroot proxy run`",
    "Choose another --xds-port.",
    "see /health/ready",
    "an MRC",
    "its bootstraps",
  ];
  for (const sample of samples) assert.equal(ofTheProduct(`const hint = ${JSON.stringify(sample)};`).length, 1, sample);
  assert.deepEqual(ofTheProduct("/** `meshroot/xds` for all. */ throw new MeshrootError(); at--;"), []);
  const imports = ["../core/evidence/ledger.ts", "../secrets/secret-codec.ts", "../serve/serve.ts", "zod"];
  assert.deepEqual(foreignImports(imports.map((one) => `import "${one}";`).join("\n")), imports);
});

test("what to do next is said in the words of whoever built the server, else in words for any server", async (t) => {
  const refusals: RefusedClient[] = [];
  const refused = (refusal: RefusedClient) => void refusals.push(refusal);
  const own = await startGenericXds(t, { refused, hints: { noCertificate: "Ask for one at the desk." } });
  const any = await startGenericXds(t, { refused });
  for (const { port, tls } of [own, any]) {
    const before = refusals.length;
    const client = xdsClient(port, { ca: tls.ca, serverName: SERVER_NAME });
    t.after(() => client.close());
    client.secrets().request({ names: ["A"] });
    await until("the refusal", () => refusals.length > before);
  }
  assert.deepEqual(
    [...new Set(refusals.map(({ hint }) => hint))],
    ["Ask for one at the desk.", "Give the client a certificate under a root that this server trusts."],
  );
  const second = new XdsServer({ credentials: undefined, identify: () => "someone", sources: [] });
  await assert.rejects(second.listen("127.0.0.1", own.port), (error) => {
    assert.ok(error instanceof MeshrootError);
    assert.deepEqual([error.code, error.hint], ["MR5003", "Stop the other process, or choose another port."]);
    return true;
  });
});
