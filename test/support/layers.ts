/** The layers of src/, and what of it breaks them. docs/architecture.md shows the same table. */

import { globSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";

const SRC = new URL("../../src/", import.meta.url).pathname;

type Layer = {
  /** What it imports of src/, besides itself: beginnings of paths, all in layers above this line. */
  readonly imports: readonly string[];
  /** Which packages and modules of Node it may use. Default: any. */
  readonly packages?: readonly string[];
};

/** By the beginning of the path; the longest counts. From the ground up. */
export const LAYERS: Readonly<Record<string, Layer>> = {
  // Pure and synchronous: no I/O, no clock, no package.
  "core/roots/": { imports: ["core/"], packages: [] },
  "core/evidence/": { imports: ["core/", "core/roots/"], packages: [] },
  "core/rotation/": { imports: ["core/", "core/roots/", "core/evidence/"], packages: [] },
  "core/": { imports: [], packages: [] },
  "ports/": { imports: ["core/"], packages: ["node:crypto"] },
  "runtime/": { imports: ["core/"] },
  "controller/": { imports: ["core/", "ports/"], packages: ["node:crypto"] },
  "pki/": { imports: ["core/", "ports/"] },
  "providers/": { imports: ["core/", "ports/", "pki/"] },
  "stores/": { imports: ["core/", "ports/", "runtime/"] },
  "xds/": { imports: ["core/", "runtime/"] },
  "secrets/": { imports: ["core/", "ports/", "controller/", "xds/"] },
  "ops/": { imports: ["core/", "runtime/"] },
  "envoy/": { imports: ["core/", "runtime/"] },
  "agent/": {
    imports: [
      "core/",
      "ports/",
      "runtime/",
      "pki/",
      "envoy/",
      "ops/complainer.ts",
      "xds/client-wire.ts",
      "xds/services.ts",
      "xds/wire.ts",
      "secrets/agent-name.ts",
      "secrets/secret-codec.ts",
    ],
  },
  "config.ts": { imports: ["core/", "pki/"] },
  "serve/": {
    imports: [
      "core/",
      "ports/",
      "runtime/",
      "controller/",
      "pki/",
      "providers/",
      "stores/",
      "xds/",
      "secrets/",
      "ops/",
      "config.ts",
    ],
  },
  "access/": { imports: ["core/", "ports/", "runtime/", "controller/", "serve/", "stores/", "config.ts"] },
  "cli/demo/": {
    imports: ["core/", "ports/", "ops/", "controller/", "envoy/", "agent/", "config.ts", "serve/", "access/"],
  },
  "cli/": {
    imports: [
      "core/",
      "ports/",
      "runtime/",
      "ops/",
      "pki/",
      "controller/",
      "envoy/",
      "agent/",
      "config.ts",
      "serve/",
      "access/",
      "cli/demo/",
    ],
  },
  "main.ts": { imports: ["core/", "runtime/", "access/", "cli/"] },
};

/** By path below src/: what each module imports, as it is written. */
export type Imports = ReadonlyMap<string, readonly string[]>;

export function importsOf(text: string): string[] {
  const forms =
    /(?:^|\n)(?:import|export)\b[^;'"]*?\bfrom\s*"([^"]+)"|(?:^|\n)import\s*"([^"]+)"|\bimport\(\s*"([^"]+)"/g;
  return [...text.matchAll(forms)].map(([, from, bare, dynamic]) => from ?? bare ?? dynamic ?? "");
}

export function readImports(): Imports {
  const files = globSync("**/*.ts", { cwd: SRC }).sort();
  return new Map(files.map((file) => [file, importsOf(readFileSync(join(SRC, file), "utf8"))]));
}

/** Undefined for a file that belongs nowhere. */
function layerOf(file: string): string | undefined {
  return Object.keys(LAYERS)
    .filter((prefix) => file.startsWith(prefix))
    .sort((a, b) => b.length - a.length)[0];
}

/** Imports that the table does not allow, as `importer -> imported`. */
export function breaches(imports: Imports): string[] {
  return [...imports].flatMap(([file, specifiers]) => {
    const layer = layerOf(file);
    if (layer === undefined) return [`${file} belongs to no layer`];
    return specifiers
      .filter((specifier) => !isAllowed(layer, file, specifier))
      .map((specifier) => `${file} -> ${specifier}`);
  });
}

function isAllowed(layer: string, file: string, specifier: string): boolean {
  const { imports, packages } = LAYERS[layer] as Layer;
  if (!specifier.startsWith(".")) return packages?.includes(specifier) ?? true;
  const target = targetOf(file, specifier);
  const theirs = layerOf(target);
  if (theirs === layer) return true;
  return imports.some((allowed) => (allowed.endsWith(".ts") ? target === allowed : theirs?.startsWith(allowed)));
}

/** Groups of modules that import each other, types included. */
export function cycles(imports: Imports): string[][] {
  const found: string[][] = [];
  const reaches = (from: string, to: string, seen = new Set<string>()): boolean =>
    (imports.get(from) ?? []).some((specifier) => {
      const next = targetOf(from, specifier);
      if (next === to) return true;
      if (seen.has(next) || !imports.has(next)) return false;
      seen.add(next);
      return reaches(next, to, seen);
    });
  const left = new Set([...imports.keys()].filter((file) => reaches(file, file)));
  for (const file of left) {
    const group = [...left].filter((other) => other === file || (reaches(file, other) && reaches(other, file)));
    for (const one of group) left.delete(one);
    found.push(group);
  }
  return found;
}

function targetOf(file: string, specifier: string): string {
  return specifier.startsWith(".") ? normalize(join(dirname(file), specifier)) : specifier;
}
