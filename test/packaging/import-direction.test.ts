/** The linter enforces the import direction of design.md section 4: it must refuse what the section forbids. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { temporaryDirectory } from "../support/data-dir.ts";

const REPOSITORY = fileURLToPath(new URL("../../", import.meta.url));

type Case = { readonly file: string; readonly allowed: readonly string[]; readonly refused: readonly string[] };

const CASES: readonly Case[] = [
  {
    file: "src/core/probe.ts",
    allowed: ["./errors.ts"],
    refused: ["node:fs", "zod", "@grpc/grpc-js", "../controller/ports.ts", "../config.ts"],
  },
  { file: "src/core/sub/probe.ts", allowed: ["../errors.ts", "./near.ts"], refused: ["../../pki/keys.ts", "node:fs"] },
  {
    file: "src/controller/probe.ts",
    allowed: ["./ports.ts", "../core/errors.ts", "node:crypto"],
    refused: ["node:fs", "pino", "../pki/keys.ts", "../stores/files/data-dir.ts", "../main.ts"],
  },
  {
    file: "src/pki/probe.ts",
    allowed: ["./pem.ts", "../core/errors.ts", "../controller/ports.ts", "node:crypto", "node-forge"],
    refused: ["../controller/status.ts", "../providers/tresor.ts", "../config.ts"],
  },
  {
    file: "src/providers/vault/probe.ts",
    allowed: ["../tresor.ts", "../../pki/keys.ts", "../../core/errors.ts", "../../controller/ports.ts"],
    refused: ["../../stores/files/data-dir.ts", "../../xds/server.ts", "../../controller/status.ts", "../../config.ts"],
  },
  {
    file: "src/stores/files/probe.ts",
    allowed: ["./data-dir.ts", "../shared.ts", "../../core/errors.ts", "../../controller/ports.ts", "yaml"],
    refused: ["../../pki/keys.ts", "../../xds/server.ts", "../../controller/rotation-controller.ts", "../../main.ts"],
  },
  {
    file: "src/xds/probe.ts",
    allowed: ["../core/errors.ts", "../controller/mesh-secrets.ts", "@grpc/grpc-js"],
    refused: [
      "../stores/files/data-dir.ts",
      "../cli/context.ts",
      "../providers/tresor.ts",
      "../ops/log.ts",
      "../envoy/admin.ts",
      "../pki/keys.ts",
      "../serve/serve.ts",
    ],
  },
  {
    file: "src/ops/probe.ts",
    allowed: ["../core/errors.ts", "../controller/status.ts"],
    refused: ["../xds/server.ts", "../stores/files/data-dir.ts", "../cli/context.ts"],
  },
  {
    file: "src/envoy/probe.ts",
    allowed: ["../core/errors.ts"],
    refused: ["../controller/ports.ts", "../xds/server.ts", "../pki/keys.ts"],
  },
  {
    file: "src/agent/probe.ts",
    allowed: [
      "../core/errors.ts",
      "../envoy/admin.ts",
      "../xds/client-wire.ts",
      "../pki/pem.ts",
      "../stores/files/file-lock.ts",
      "@grpc/grpc-js",
    ],
    refused: [
      "../serve/serve.ts",
      "../xds/server.ts",
      "../xds/secret-source.ts",
      "../controller/rotation-controller.ts",
      "../stores/files/data-dir.ts",
      "../cli/context.ts",
      "../config.ts",
    ],
  },
  {
    file: "src/serve/probe.ts",
    allowed: ["../xds/server.ts", "../stores/files/data-dir.ts", "../config.ts"],
    refused: ["../cli/context.ts", "../main.ts"],
  },
  {
    file: "src/cli/demo/probe.ts",
    allowed: ["../context.ts", "../../serve/serve.ts", "../../envoy/admin.ts"],
    refused: ["../../main.ts"],
  },
  {
    file: "src/config.ts",
    allowed: ["./core/errors.ts", "./pki/keys.ts", "zod"],
    refused: ["./main.ts", "./cli/context.ts"],
  },
  { file: "test/core/probe.test.ts", allowed: ["../support/property.ts"], refused: ["fast-check"] },
];

type Report = {
  readonly diagnostics: readonly {
    readonly location: { readonly path: string; readonly start: { readonly line: number } };
  }[];
};

const FORMS = [
  (from: string) => `import ${JSON.stringify(from)};`,
  (from: string) => `import type { Probe } from ${JSON.stringify(from)};`,
  (from: string) => `export { probe } from ${JSON.stringify(from)};`,
  (from: string) => `await import(${JSON.stringify(from)});`,
];

test("imports against the direction are refused in every form, and no others", async (t) => {
  const directory = await temporaryDirectory(t);
  const { linter, overrides } = JSON.parse(await readFile(join(REPOSITORY, "biome.json"), "utf8")) as {
    linter: unknown;
    overrides: unknown;
  };
  await writeFile(join(directory, "biome.json"), JSON.stringify({ linter, overrides }));
  for (const { file, allowed, refused } of CASES) {
    const lines = [...allowed, ...refused].flatMap((from) => FORMS.map((form) => form(from)));
    await mkdir(dirname(join(directory, file)), { recursive: true });
    await writeFile(join(directory, file), `${lines.join("\n")}\n`);
  }

  const found = await restrictedImports(directory);

  for (const { file, allowed, refused } of CASES) {
    const first = allowed.length * FORMS.length + 1;
    const expected = Array.from({ length: refused.length * FORMS.length }, (_, index) => first + index);
    assert.deepEqual(found.get(file) ?? [], expected, `${file}: lines that biome refuses`);
  }
});

/** Lines with a forbidden import, by file. */
async function restrictedImports(directory: string): Promise<Map<string, number[]>> {
  const biome = join(REPOSITORY, "node_modules", ".bin", "biome");
  const args = ["lint", "--only=style/noRestrictedImports", "--reporter=json", "--max-diagnostics=none"];
  // Found errors are an exit code of 1, and what this test is after.
  const { stdout } = await promisify(execFile)(biome, args, { cwd: directory, maxBuffer: 64 * 1024 * 1024 }).catch(
    (error: { stdout: string }) => error,
  );
  const lines = new Map<string, number[]>();
  for (const { location } of (JSON.parse(stdout) as Report).diagnostics) {
    const earlier = lines.get(location.path) ?? [];
    lines.set(
      location.path,
      [...earlier, location.start.line].toSorted((a, b) => a - b),
    );
  }
  return lines;
}
