/** What commands do with a mesh, whoever answers: a running server, or nobody but what is written down. */

import type { Config } from "../config.ts";
import type { OperatorAnswer, OperatorRequest } from "../controller/operator.ts";
import type { MeshStatus } from "../controller/status.ts";
import type { Problem } from "../core/errors.ts";
import type { MeshRoot, RootListing } from "../core/roots/mesh-root.ts";
import type { RootEditing } from "../ports/store.ts";
import type { BootstrapAnswer, BootstrapRequest } from "../serve/admin-api.ts";

/** Which mesh. */
export type MeshLocation = Pick<Config, "dataDir" | "namespace">;

export type MeshAccess = {
  /** What the server says, or what was last written down; undefined where nothing ever ran. */
  status(): Promise<MeshStatus | undefined>;
  /** `config`: what a server would be given, where none answers. Throws MR5004 where there is no mesh yet. */
  bootstrap(request: BootstrapRequest, config: Config): Promise<BootstrapAnswer>;
  /** Durable when it resolves. */
  operate(request: OperatorRequest): Promise<Operated>;
  /** Throws why this mesh would refuse a root whose CA exists already. */
  examine(root: MeshRoot): Promise<void>;
  readonly roots: RootAccess;
};

/** `live`: a server has heard it. */
export type Operated = { readonly answer: OperatorAnswer; readonly live: boolean };

export type RootAccess = RootEditing & {
  /** Throws MR2002 where there is no data directory: looking at one must not create it. */
  list(): Promise<RootListing>;
  /** Reads manifests from a text, as they would be read from a file. */
  parse(text: string): readonly ParsedRoot[];
};

type ParsedRoot = { readonly text: string; readonly root?: MeshRoot; readonly problems: readonly Problem[] };
