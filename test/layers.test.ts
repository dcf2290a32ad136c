/** Imports point one way (docs/architecture.md). */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { breaches, cycles, importsOf, LAYERS, readImports } from "./support/layers.ts";

test("no module imports against the direction of the layers", () => {
  assert.deepEqual(breaches(readImports()), []);
});

test("no modules import each other, not even for types", () => {
  assert.deepEqual(cycles(readImports()), []);
});

test("docs/architecture.md shows the layers, from the ground up", async () => {
  const text = await readFile(new URL("../docs/architecture.md", import.meta.url), "utf8");
  const rows = [...text.matchAll(/^\| `([^`]+)` \| /gm)].map(([, layer = ""]) => layer);
  assert.deepEqual(rows.toSorted(), Object.keys(LAYERS).toSorted());
  const below = (layer: string) =>
    (LAYERS[layer]?.imports ?? []).map((one) => rows.findIndex((row) => one.startsWith(row)));
  for (const [index, layer] of rows.entries()) for (const at of below(layer)) assert.ok(at < index, `${layer} ${at}`);
});

test("every layer is used", () => {
  const files = [...readImports().keys()];
  for (const layer of Object.keys(LAYERS))
    assert.ok(
      files.some((file) => file.startsWith(layer)),
      layer,
    );
});

test("an import is seen in every form, and judged", () => {
  const text = [
    'import "node:fs";',
    'import type { Probe } from "../pki/keys.ts";',
    'import {\n  probe,\n} from "../core/errors.ts";',
    'export { probe } from "../serve/serve.ts";',
    'const probe = await import("../stores/files/data-dir.ts");',
  ].join("\n");
  const imports = importsOf(text);
  assert.equal(imports.length, 5);
  assert.deepEqual(breaches(new Map([["controller/probe.ts", imports]])), [
    "controller/probe.ts -> node:fs",
    "controller/probe.ts -> ../pki/keys.ts",
    "controller/probe.ts -> ../serve/serve.ts",
    "controller/probe.ts -> ../stores/files/data-dir.ts",
  ]);
  const core = ["../core/roots/trust.ts", "node:crypto", "../main.ts"];
  assert.equal(breaches(new Map([["core/probe.ts", core]])).length, 3);
  assert.deepEqual(breaches(new Map([["core/rotation/probe.ts", ["../evidence/ledger.ts", "../errors.ts"]]])), []);
  assert.equal(breaches(new Map([["agent/probe.ts", ["../xds/server.ts", "../secrets/secret-source.ts"]]])).length, 2);
  assert.deepEqual(breaches(new Map([["nowhere/probe.ts", []]])), ["nowhere/probe.ts belongs to no layer"]);
});

test("a cycle is found", () => {
  const imports = new Map([
    ["a.ts", ["./b.ts"]],
    ["b.ts", ["./c.ts", "node:fs"]],
    ["c.ts", ["./a.ts"]],
    ["d.ts", ["./a.ts"]],
  ]);
  assert.deepEqual(cycles(imports), [["a.ts", "b.ts", "c.ts"]]);
});
