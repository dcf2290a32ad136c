/**
 * A proxy without an Envoy: real TLS and streams, the versions reported on reconnect as Envoy reports them, a new
 * connection after each end. It accepts whatever comes.
 */

import { X509Certificate } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { DecodedSecret } from "../../src/secrets/secret-codec.ts";
import { type ClientTls, type Response, xdsClient } from "./xds-client.ts";

export type Variant = "sotw" | "delta" | "ads" | "deltaAds";

export type LightProxyOptions = {
  readonly uuid: string;
  readonly variant: Variant;
  readonly names: readonly string[];
  readonly port: number;
  readonly tls: ClientTls;
  /** Milliseconds to wait before attempt number `attempt` (0 after a connection that had served). */
  readonly backoffMs: (attempt: number) => number;
  /** After a secret was stored and answered. */
  readonly onSecret?: (proxy: LightProxy, held: Held) => void;
};

export type Held = {
  readonly name: string;
  readonly version: string;
  /** When it came, milliseconds since the epoch. */
  readonly at: number;
  readonly secret: DecodedSecret;
  /** Of a bundle its roots, of a leaf its chain. */
  readonly certificates: readonly X509Certificate[];
};

export type LightProxy = {
  readonly uuid: string;
  readonly variant: Variant;
  /** What it runs, by name. */
  readonly held: ReadonlyMap<string, Held>;
  /** When it proved on a new stream what it runs: by an ACK, or by the version that its first request names. */
  readonly answeredAt: readonly number[];
  /** Ends the connection; `tls` is used from then on. While `paused` there is no new one. */
  reconnect(options: { readonly tls?: ClientTls; readonly paused?: boolean }): void;
  stop(): void;
};

export function startLightProxy(options: LightProxyOptions): LightProxy {
  const { uuid, variant, names, port, backoffMs } = options;
  const held = new Map<string, Held>();
  const answeredAt: number[] = [];
  let { tls } = options;
  let stopped = false;
  let paused = false;
  let wake: () => void = () => undefined;
  let hangUp: () => void = () => undefined;
  const end = () => {
    hangUp();
    wake();
  };
  const proxy: LightProxy = {
    uuid,
    variant,
    held,
    answeredAt,
    reconnect(change) {
      tls = change.tls ?? tls;
      paused = change.paused ?? false;
      end();
    },
    stop() {
      stopped = true;
      end();
    },
  };
  const take = (response: Response) => {
    for (const [index, secret] of response.secrets.entries()) {
      const version = response.resources[index]?.version || response.version;
      const certificates = certificatesOf(secret);
      const one: Held = { name: secret.name, version, at: Date.now(), secret, certificates };
      held.set(secret.name, one);
      options.onSecret?.(proxy, one);
    }
  };
  void (async () => {
    for (let attempt = 0; !stopped; attempt++) {
      if (paused) await new Promise<void>((resolve) => (wake = resolve));
      else await sleep(backoffMs(attempt));
      if (stopped || paused) continue;
      const client = xdsClient(port, tls);
      const cancels: (() => unknown)[] = [];
      hangUp = () => {
        // Closing the channel alone leaves streams open.
        for (const cancel of cancels) cancel();
        client.close();
      };
      // As Envoy: a name outside ADS has a stream of its own.
      const perStream = variant === "sotw" || variant === "delta" ? names.map((name) => [name]) : [names];
      const streams = perStream.map((some) => converse(client, some, cancels));
      const served = await Promise.race(streams);
      hangUp();
      await Promise.all(streams);
      if (served) attempt = -1;
    }
  })();
  return proxy;

  /** Resolves with whether anything came when the stream has ended. */
  async function converse(
    on: ReturnType<typeof xdsClient>,
    some: readonly string[],
    cancels: (() => unknown)[],
  ): Promise<boolean> {
    const node = { node: { id: uuid, cluster: "light" } };
    const versions = Object.fromEntries(
      some.flatMap((name) => (held.has(name) ? [[name, held.get(name)?.version ?? ""]] : [])),
    );
    const [version] = Object.values(versions);
    const opened = Date.now();
    const stream = {
      sotw: () => on.secrets(node).request({ names: some, ...(version === undefined ? {} : { version }) }),
      ads: () => on.ads(node).request({ names: some }),
      delta: () => on.deltaSecrets(node).request({ subscribe: some, initialVersions: versions }),
      deltaAds: () => on.deltaAds(node).request({ subscribe: some, initialVersions: versions }),
    }[variant]();
    cancels.push(() => stream.cancel());
    if (variant !== "ads" && version !== undefined) answeredAt.push(opened);
    for (let any = false; ; any = true) {
      const response = await stream.next(undefined, 3_600_000).catch(() => undefined);
      if (response === undefined) return any;
      take(response);
      answeredAt.push(Date.now());
      stream.ack({}, response);
    }
  }
}

function certificatesOf(secret: DecodedSecret): X509Certificate[] {
  const pem =
    secret.kind === "validationContext" ? secret.trustedCaPem : secret.kind === "tlsCertificate" ? secret.chainPem : "";
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block: string) => new X509Certificate(block));
}
