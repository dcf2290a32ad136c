/** What HTTP answers on the operator's socket. Role edits need no door: they are edits of the MRC files. */

import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { z } from "zod";
import { OPERATOR_ACTIONS, type OperatorAnswer } from "../controller/operator.ts";
import type { MeshStatus } from "../controller/status.ts";
import { MeshrootError } from "../core/errors.ts";
import { ASSUMED_FOR } from "../core/evidence/ledger-state.ts";
import { DEFAULT_NAMESPACE, type MeshRoot } from "../core/roots/mesh-root.ts";
import { parseMeshRoot } from "../core/roots/mesh-root-parse.ts";
import type { BootstrapCredentials } from "./certificate-maker.ts";

/** Questions are short: a name, a reason. */
const MAX_QUESTION_BYTES = 64 * 1024;

export const bootstrapRequest = z.strictObject({
  serviceAccount: z.string(),
  namespace: z.string(),
  kind: z.enum(["sidecar", "gateway"]),
  uuid: z.string().optional(),
});
export type BootstrapRequest = z.infer<typeof bootstrapRequest>;

export type BootstrapAnswer = BootstrapCredentials & {
  readonly xdsPort: number;
  /** DNS SAN of the server's certificate, to be matched by the proxy. */
  readonly serverName: string;
};

export const operatorRequest = z.strictObject({
  action: z.enum(OPERATOR_ACTIONS),
  name: z.string(),
  reason: z.string(),
  for: z.array(z.enum(ASSUMED_FOR)).optional(),
});

const examineRequest = z.strictObject({ manifest: z.unknown() });

export type AdminDeps = {
  readonly version: string;
  readonly status: () => MeshStatus;
  readonly bootstrap: (request: BootstrapRequest) => Promise<BootstrapAnswer>;
  /** Throws why this root, whose CA may exist already, would be refused. */
  readonly examine: (root: MeshRoot) => Promise<void>;
  /** Durable when it resolves. */
  readonly operate: (request: z.infer<typeof operatorRequest>) => Promise<OperatorAnswer>;
};

export type ErrorAnswer = { readonly code: string; readonly message: string; readonly hint: string };

const TOO_LONG: ErrorAnswer = {
  code: "MR5002",
  message: "the question is too long",
  hint: "Give one name, and a reason of one line.",
};

export function adminApp(deps: AdminDeps): Hono {
  const app = new Hono();
  app.use(
    bodyLimit({
      maxSize: MAX_QUESTION_BYTES,
      onError: (context) => context.json(TOO_LONG, 413),
    }),
  );
  app.get("/v1/version", (context) => context.json({ version: deps.version }));
  app.get("/v1/status", (context) => context.json(deps.status()));
  app.post("/v1/bootstrap", async (context) => {
    return context.json(await deps.bootstrap(parse(bootstrapRequest, await context.req.text())));
  });
  app.post("/v1/operator", async (context) => {
    return context.json(await deps.operate(parse(operatorRequest, await context.req.text())));
  });
  app.post("/v1/examine-root", async (context) => {
    await deps.examine(manifestOf(await context.req.text()));
    return context.json({});
  });
  app.onError((error, context) => {
    const known = error instanceof MeshrootError;
    const answer: ErrorAnswer = known
      ? { code: error.code, message: error.message.slice(error.code.length + 1), hint: error.hint }
      : { code: "MR5004", message: "internal error", hint: "See the server's log." };
    return context.json(answer, known ? 400 : 500);
  });
  return app;
}

function manifestOf(text: string): MeshRoot {
  const { manifest } = parse(examineRequest, text);
  const parsed = parseMeshRoot(manifest, { createdAt: 0, defaultNamespace: DEFAULT_NAMESPACE });
  if ("root" in parsed) return parsed.root;
  throw new MeshrootError(
    "MR5002",
    "this is no MeshRootCertificate",
    "Use a client of the same version as the server.",
  );
}

/** Throws MR5002. */
function parse<Schema extends z.ZodType>(schema: Schema, text: string): z.infer<Schema> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new MeshrootError("MR5002", z.prettifyError(parsed.error), "Use a client of the same version as the server.");
}
