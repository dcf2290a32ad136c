/** The admin interface of an Envoy that a test plays: `/certs` shows the xDS credentials that it "has loaded". */

import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { TestContext } from "node:test";

export type FakeAdmin = {
  readonly address: string;
  /** True (the default): what lies in the folder is loaded whenever somebody looks. False: what was loaded last stays. */
  follows: boolean;
  /** `key_rotation_failed`. */
  refusals: number;
  version: string;
  /** Times that `/certs` was read. */
  readonly looks: number;
};

/** The folder may appear later. Stopped by the test. */
export async function startFakeAdmin(t: TestContext, certDir: () => string): Promise<FakeAdmin> {
  let loaded = { certificates: [] as object[] };
  const fake = { address: "", follows: true, refusals: 0, version: "1.40.0", looks: 0 };
  const load = async () => {
    const [chain, ca] = await Promise.all(
      ["tls.crt", "ca.crt"].map((name) => readFile(join(certDir(), name), "utf8").then(described)),
    );
    const whole = Number(fake.version.split(".")[1]) >= 40;
    loaded = { certificates: [{ cert_chain: chain?.slice(0, 1), ca_cert: whole ? ca : ca?.slice(0, 1) }] };
  };
  const answers: Readonly<Record<string, () => string>> = {
    "/certs": () => JSON.stringify(loaded),
    "/stats": () =>
      `sds.tls_sds.key_rotation_failed: ${fake.refusals}\nsds.validation_context_sds.key_rotation_failed: 0\n`,
    "/server_info": () =>
      JSON.stringify({ version: `abc/${fake.version}/Clean/RELEASE/BoringSSL`, node: { id: "fake" } }),
  };
  const server = createServer(async (incoming, outgoing) => {
    const path = incoming.url?.split("?")[0] ?? "";
    if (path === "/certs") fake.looks += 1;
    if (path === "/certs" && fake.follows) await load().catch(() => undefined);
    outgoing.end(answers[path]?.() ?? "");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  fake.address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return fake;
}

function described(pem: string): object[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => {
    const { serialNumber, subjectAltName, validFromDate, validToDate } = new X509Certificate(block);
    const uris = (subjectAltName ?? "").split(", ").filter((name) => name.startsWith("URI:"));
    return {
      serial_number: serialNumber,
      subject_alt_names: uris.map((uri) => ({ uri: uri.slice(4) })),
      valid_from: validFromDate.toISOString(),
      expiration_time: validToDate.toISOString(),
    };
  });
}
