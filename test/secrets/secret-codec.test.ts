import assert from "node:assert/strict";
import { test } from "node:test";
import { MeshrootError } from "../../src/core/errors.ts";
import {
  decodeSecret,
  encodeTlsCertificate,
  encodeValidationContext,
  SECRET_TYPE_URL,
  tlsCertificateWriter,
  validationContextWriter,
} from "../../src/secrets/secret-codec.ts";
import { decodeSotwResponse } from "../../src/xds/client-wire.ts";
import { decodeAny, encodeAny, encodeSotwResponse } from "../../src/xds/wire.ts";
import fc from "../support/property.ts";
import { loadEnvoyProtos, written } from "../support/protos.ts";

const Secret = loadEnvoyProtos().lookupType("envoy.extensions.transport_sockets.tls.v3.Secret");

/** Shaped like PEM; nothing here parses certificates. */
const CHAIN = "-----BEGIN CERTIFICATE-----\nbGVhZg==\n-----END CERTIFICATE-----\n";
const KEY = "-----BEGIN PRIVATE KEY-----\na2V5\n-----END PRIVATE KEY-----\n";
const COMMENT = "meshroot 00ff00ff00ff00ff";

/** As Envoy's protos read it, without what is at its default. */
function asEnvoy(any: Buffer): unknown {
  const { typeUrl, value } = decodeAny(any);
  assert.equal(typeUrl, SECRET_TYPE_URL);
  return JSON.parse(JSON.stringify(Secret.toObject(Secret.decode(value), { bytes: String, enums: String })));
}

const base64 = (text: string) => Buffer.from(text).toString("base64");

test("R9: a leaf is a Secret with inline bytes only", () => {
  const any = encodeTlsCertificate({ name: "default", chainPem: CHAIN, privateKeyPem: KEY });
  assert.deepEqual(asEnvoy(any), {
    name: "default",
    tls_certificate: {
      certificate_chain: { inline_bytes: base64(CHAIN) },
      private_key: { inline_bytes: base64(KEY) },
    },
  });
  assert.deepEqual(decodeSecret(any), { kind: "tlsCertificate", name: "default", chainPem: CHAIN, privateKeyPem: KEY });
});

test("a bundle carries its SAN matchers as exact names", () => {
  const sans = [
    { type: "DNS", value: "cart.shop.cluster.local" },
    { type: "URI", value: "spiffe://mesh.test/cart/shop" },
  ] as const;
  const any = encodeValidationContext({ name: "root-cert-for-mtls-outbound:shop/cart", trustedCaPem: CHAIN, sans });
  assert.deepEqual(asEnvoy(any), {
    name: "root-cert-for-mtls-outbound:shop/cart",
    validation_context: {
      trusted_ca: { inline_bytes: base64(CHAIN) },
      match_typed_subject_alt_names: [
        { san_type: "DNS", matcher: { exact: "cart.shop.cluster.local" } },
        { san_type: "URI", matcher: { exact: "spiffe://mesh.test/cart/shop" } },
      ],
    },
  });
  assert.deepEqual(decodeSecret(any), {
    kind: "validationContext",
    name: "root-cert-for-mtls-outbound:shop/cart",
    trustedCaPem: CHAIN,
    sans,
  });
});

test("a bundle without matchers has none", () => {
  const any = encodeValidationContext({ name: "ROOTCA", trustedCaPem: CHAIN });
  assert.deepEqual(asEnvoy(any), {
    name: "ROOTCA",
    validation_context: { trusted_ca: { inline_bytes: base64(CHAIN) } },
  });
});

test("E2: the comment is the first line of chain and bundle, and nothing else changes", () => {
  const leaf = { name: "default", chainPem: CHAIN, privateKeyPem: KEY };
  const bundle = { name: "ROOTCA", trustedCaPem: CHAIN, sans: [{ type: "DNS", value: "a" }] } as const;
  const first = decodeSecret(encodeTlsCertificate({ ...leaf, comment: COMMENT }));
  assert.deepEqual(first, { kind: "tlsCertificate", ...leaf, chainPem: `${COMMENT}\n${CHAIN}` });
  const second = decodeSecret(encodeValidationContext({ ...bundle, comment: COMMENT }));
  assert.deepEqual(second, { kind: "validationContext", ...bundle, trustedCaPem: `${COMMENT}\n${CHAIN}` });
});

test("a comment that could hold a certificate is refused, and the message repeats none of it", () => {
  const write = tlsCertificateWriter({ chainPem: CHAIN, privateKeyPem: KEY });
  for (const comment of ["a\nb", "a\rb", "-----BEGIN CERTIFICATE-----", "\0", "é"]) {
    assert.throws(
      () => write("default", comment),
      (thrown) => thrown instanceof MeshrootError && thrown.code === "MR3005" && !thrown.message.includes(comment),
    );
  }
});

test("a writer gives the same bytes within a response as on their own, for any name", () => {
  const pem = CHAIN.repeat(40);
  const write = validationContextWriter({ trustedCaPem: pem });
  fc.assert(
    fc.property(
      fc.string({ unit: "binary" }),
      fc.option(fc.string({ unit: fc.constantFrom("a", " ", "0") })),
      (name, comment) => {
        const optional = comment === null ? {} : { comment };
        const alone = encodeValidationContext({ name, trustedCaPem: pem, ...optional });
        const response = { typeUrl: SECRET_TYPE_URL, versionInfo: "1", nonce: "n" };
        const whole = encodeSotwResponse({ ...response, resources: [write(name, optional.comment), alone] });
        const [first, second] = decodeSotwResponse(whole).resources;
        assert.deepEqual(first?.any, alone);
        assert.deepEqual(second?.any, alone);
        assert.equal(decodeSecret(alone).name, name);
      },
    ),
    { numRuns: 30 },
  );
});

test("secrets of other makers are read as far as they go", () => {
  const other = (fields: object) => decodeSecret(encodeAny(SECRET_TYPE_URL, written(Secret, fields)));
  assert.deepEqual(other({ name: "t", session_ticket_keys: { keys: [] } }), { kind: "other", name: "t" });
  assert.deepEqual(other({ name: "f", tls_certificate: { certificate_chain: { filename: "/x" } } }), {
    kind: "tlsCertificate",
    name: "f",
    chainPem: "",
    privateKeyPem: "",
  });
  const san = (san_type: number, matcher: object) => ({ san_type, matcher });
  const matchers = [san(2, { prefix: "a" }), san(1, { exact: "b@c" }), san(3, { exact: "spiffe://d" })];
  const context = other({
    name: "v",
    validation_context: { trusted_ca: { inline_string: CHAIN }, match_typed_subject_alt_names: matchers },
  });
  assert.deepEqual(context, {
    kind: "validationContext",
    name: "v",
    trustedCaPem: CHAIN,
    sans: [{ type: "URI", value: "spiffe://d" }],
  });
});

test("what is no Secret is refused by name", () => {
  const cluster = encodeAny("type.googleapis.com/envoy.config.cluster.v3.Cluster", Buffer.alloc(0));
  assert.throws(() => decodeSecret(cluster), /MR4002 .*envoy\.config\.cluster\.v3\.Cluster/);
});
