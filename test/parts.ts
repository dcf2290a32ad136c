/** The parts of the tests. Every test file belongs to one: to the last of these that names it. */

import { globSync } from "node:fs";
import { availableParallelism } from "node:os";
import { matchesGlob } from "node:path";

type Part = {
  readonly files: readonly string[];
  /** Test files under way at one time, where it is not one for each core: most wait more than they compute. */
  readonly concurrency?: number;
};

const PARTS = {
  /** `npm test`: pure code, adapters, command line, agents, and one whole rotation on a real Envoy. */
  quick: { files: ["test/**"], concurrency: 2 * availableParallelism() },
  /** Random histories of the model mesh, and the sabotages that they notice. Each file uses all cores by itself. */
  model: { files: ["test/model/**"], concurrency: 1 },
  /** Real Envoys. */
  envoy: { files: ["test/envoy/{findings,file-secrets}*", "test/e2e/!(full-rotation)*"] },
  /** `kill -9`. */
  crash: { files: ["test/crash/**"] },
  /** Fuzzing, and thousands of connections: what other tests beside it would disturb. */
  load: { files: ["test/load/**"], concurrency: 1 },
  /** What users get: the package and the image. */
  packaging: { files: ["test/packaging/**"] },
} satisfies Record<string, Part>;

export type PartName = keyof typeof PARTS;

export const PART_NAMES = Object.keys(PARTS) as PartName[];

export function partNamed(name: PartName): Part {
  return PARTS[name];
}

function partOf(file: string): PartName | undefined {
  return PART_NAMES.findLast((name) => partNamed(name).files.some((glob) => matchesGlob(file, glob)));
}

/** Paths below the repository, in order. Throws where there are none: a folder that moved must not take its tests along. */
export function filesOf(part: PartName): string[] {
  const cwd = new URL("..", import.meta.url).pathname;
  const files = globSync("test/**/*.test.ts", { cwd }).filter((file) => partOf(file) === part);
  if (files.length === 0) throw new Error(`no test file belongs to the part ${part}: see test/parts.ts`);
  return files.sort();
}
