/** What every command gets from the outside; `src/main.ts` makes the real one. */

import type { MeshStatus } from "../controller/status.ts";
import type { Problem } from "../core/errors.ts";
import type { MeshRoot, Role, RootListing } from "../core/roots/mesh-root.ts";

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
  /** The roots of a data directory. */
  roots(dataDir: string, namespace: string): RootAdmin;
  /** What the server on this data directory says, or what was last written down there; undefined where nothing ever ran. */
  meshStatus(dataDir: string, namespace?: string): Promise<MeshStatus | undefined>;
  /** Throws why this mesh would refuse a root whose CA exists already. */
  examineRoot(dataDir: string, root: MeshRoot): Promise<void>;
  /** Sets how the process will end (exit-codes.ts), for outcomes that are no errors. */
  exit(code: number): void;
};

export type RootAdmin = {
  /** Throws MR2002 where there is no data directory: looking at one must not create it. */
  list(): Promise<RootListing>;
  parse(
    text: string,
  ): readonly { readonly text: string; readonly root?: MeshRoot; readonly problems: readonly Problem[] }[];
  /** Runs `work` while no other command edits roots; creates the data directory if need be. Throws MR2001, MR2002. */
  edit<Result>(work: (roots: RootEditor) => Promise<Result>): Promise<Result>;
};

/** Writes without checking the rules: whoever edits checks them first, on a list read under the same lock. */
export type RootEditor = {
  list(): Promise<RootListing>;
  create(root: MeshRoot, text?: string): Promise<void>;
  setRole(root: MeshRoot, role: Role, options?: { readonly forceUnsafe?: string }): Promise<void>;
  remove(root: MeshRoot): Promise<void>;
};
