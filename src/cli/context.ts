/** What every command gets from the outside; `src/main.ts` makes the real one. */

import type { MeshAccess, MeshLocation } from "../access/mesh-access.ts";

export type CliContext = {
  /** For data: what a script reads. */
  stdout(text: string): void;
  /** For everything else: errors, warnings, progress. */
  stderr(text: string): void;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly version: string;
  /** Where a command that runs until it is told to end writes its log; undefined: standard error itself. */
  readonly logDestination: { write(text: string): void } | undefined;
  /** Milliseconds since the epoch. */
  now(): number;
  /** Resolves when the process is told to end, by SIGINT or SIGTERM. From then on a second signal ends it at once. */
  untilSignal(): Promise<NodeJS.Signals>;
  /** Reads a file, or standard input for `-`. */
  readInput(path: string): Promise<string>;
  /** The mesh that a data directory holds. */
  openMesh(at: MeshLocation): MeshAccess;
  /** Sets how the process will end (exit-codes.ts), for outcomes that are no errors. */
  exit(code: number): void;
};
