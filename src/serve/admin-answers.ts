/** What a server may answer on its admin socket, checked by those who ask: believed is only what has the right form. */

import { createPrivateKey, X509Certificate } from "node:crypto";
import { z } from "zod";
import type { OperatorAnswer } from "../controller/operator.ts";
import type { MeshStatus } from "../controller/status.ts";
import { isDnsLabel, isDnsName, isUuid } from "../core/identity.ts";
import { ROLES } from "../core/roots/mesh-root.ts";
import { parseBundle } from "../pki/pem.ts";
import { xdsIdentity } from "../pki/xds-identity.ts";
import type { BootstrapAnswer } from "./admin-api.ts";

const texts = z.array(z.string());
const time = z.string().refine((text) => !Number.isNaN(Date.parse(text)), "is no time");
const count = z.int().nonnegative();
const word = z.looseObject({ reason: z.string(), at: time });

const rootStatus = z.looseObject({
  name: z.string(),
  namespace: z.string(),
  role: z.enum(ROLES).optional(),
  trustDomain: z.string(),
  spiffeEnabled: z.boolean(),
  fingerprint: z.string().regex(/^[0-9a-f]{64}$/),
  notAfter: time,
  state: z.string(),
  signing: z.boolean(),
  validating: z.boolean(),
  proxies: z.looseObject({ total: count, trusting: count }),
  componentStatuses: z.record(z.string(), z.string()),
});

const proxyStatus = z.looseObject({
  proxy: z.string(),
  identity: z.string(),
  node: z.string().optional(),
  connected: z.boolean(),
  sync: z.string(),
  signedBy: texts,
  trusts: texts,
  versions: z.record(z.string(), z.string()),
  lastContact: time,
  leafExpires: time.optional(),
  counts: z.boolean(),
  countsUntil: time.optional(),
  error: z.string().optional(),
  unknownNames: texts,
  assumed: word.optional(),
  forgotten: word.optional(),
});

const waiting = z.looseObject({
  proxy: z.string(),
  identity: z.string(),
  detail: z.string(),
  connected: z.boolean(),
  lastContactAt: z.number(),
  countsUntil: z.number().optional(),
  leftByEnded: z.looseObject({ at: z.number().optional() }).optional(),
});

const hold = z.looseObject({
  gate: z.string(),
  wants: z.string(),
  root: z.string(),
  reason: z.string(),
  message: z.string(),
  waitingFor: z.array(waiting),
  until: z.number().optional(),
});

/** What the commands read of it; what a newer server adds is passed on. */
const status = z.looseObject({
  live: z.boolean(),
  generation: count,
  signer: z.string(),
  trusted: texts,
  roots: z.array(rootStatus),
  holds: z.array(hold),
  problems: texts,
  authorityProblems: z.array(
    z.looseObject({ root: z.string(), code: z.string(), message: z.string(), hint: z.string() }),
  ),
  proxies: z.array(proxyStatus),
});

const bootstrap = z
  .strictObject({
    proxy: z.strictObject({
      serviceAccount: z.string().refine(isDnsLabel),
      namespace: z.string().refine(isDnsLabel),
      kind: z.enum(["sidecar", "gateway"]),
      uuid: z.string().refine(isUuid),
      trustDomain: z.string().refine(isDnsName),
    }),
    certPem: z.string(),
    keyPem: z.string(),
    caPem: z.string().refine(isBundle, "is no bundle of certificates"),
    notAfter: time,
    xdsPort: z.int().min(1).max(65_535),
    serverName: z.string().refine(isDnsName),
  })
  .refine(({ proxy, certPem }) => {
    const shown = xdsIdentity(certPem);
    return (
      shown !== undefined &&
      (["uuid", "serviceAccount", "namespace", "kind"] as const).every((part) => shown[part] === proxy[part])
    );
  }, "the certificate is not the proxy's")
  .refine(({ certPem, keyPem }) => belongTogether(certPem, keyPem), "the key is not the certificate's");

const operator = z.looseObject({
  proxy: z.string(),
  identity: z.string(),
  connected: z.boolean(),
  refused: texts,
});

export const errorAnswer = z.object({ code: z.string(), message: z.string(), hint: z.string() });

/** A schema says what is there; its type is the one that the server has written by. */
export type AnswerSchema<Answer> = { parse(value: unknown): Answer | undefined };

export const ANSWERS = {
  status: answer<MeshStatus>(status),
  bootstrap: answer<BootstrapAnswer>(bootstrap),
  operator: answer<OperatorAnswer>(operator),
  examination: answer<object>(z.looseObject({})),
};

function answer<Answer>(schema: z.ZodType): AnswerSchema<Answer> {
  return { parse: (value) => (schema.safeParse(value).success ? (value as Answer) : undefined) };
}

function isBundle(pem: string): boolean {
  const { certificates, problems } = parseBundle(pem);
  return certificates.length > 0 && problems.length === 0;
}

function belongTogether(certPem: string, keyPem: string): boolean {
  try {
    return new X509Certificate(certPem).checkPrivateKey(createPrivateKey(keyPem));
  } catch {
    return false;
  }
}
