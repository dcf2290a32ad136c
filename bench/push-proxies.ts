/**
 * The proxies of bench/push.ts, in a process of their own: each has an mTLS connection with its own certificate and one SotW
 * stream over ADS, and ACKs what comes. As cheap as can be: raw HTTP/2, and no more state than the protocol needs.
 */

import { readFileSync } from "node:fs";
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from "node:http2";
import { createSecureContext, type SecureContext } from "node:tls";
import { decodeSecret, SECRET_TYPE_URL } from "../src/secrets/secret-codec.ts";
import { decodeSotwResponse, encodeSotwRequest } from "../src/xds/client-wire.ts";
import { AGGREGATED } from "../src/xds/services.ts";
import { eachMessage, framed, rawCall } from "../test/support/grpc-frames.ts";

export type Credential = { readonly id: string; readonly certPem: string; readonly keyPem: string };
export type ProxyOrders =
  | {
      readonly load: string;
      readonly port: number;
      readonly caPem: string;
      readonly serverName: string;
      /** The first is the bundle whose pushes count. */
      readonly names: readonly string[];
    }
  /** Answers when everybody has all names. */
  | "connect"
  /** Answers at once; `pushed` answers when everybody has ACKed another version of the bundle since. */
  | "arm"
  | "pushed"
  /** Cuts every connection, and connects at once. */
  | "reconnect";
/** When the last one was done, milliseconds since the epoch. */
export type Done = { readonly at: number };

type Proxy = {
  readonly id: string;
  readonly context: SecureContext;
  session?: ClientHttp2Session | undefined;
  bundle: string;
  has: Set<string>;
  armed: boolean;
};

/** At the first connecting; what connects again does so all at once. */
const AT_A_TIME = 50;

let proxies: Proxy[] = [];
let target = { port: 0, caPem: "", serverName: "", names: [] as readonly string[] };
let waiting = 0;
let finished: (() => void) | undefined;

process.on("message", (orders: ProxyOrders) => void obey(orders).then((answer) => process.send?.(answer)));
process.on("disconnect", () => process.exit(0));

async function obey(orders: ProxyOrders): Promise<Done> {
  if (orders === "connect") await connectAll(AT_A_TIME);
  else if (orders === "reconnect") {
    for (const { session } of proxies) session?.destroy();
    await connectAll(proxies.length);
  } else if (orders === "arm") {
    for (const proxy of proxies) proxy.armed = true;
    waiting = proxies.length;
  } else if (orders === "pushed") {
    if (waiting > 0) await new Promise<void>((resolve) => (finished = resolve));
  } else {
    target = orders;
    const credentials = JSON.parse(readFileSync(orders.load, "utf8")) as Credential[];
    proxies = credentials.map(({ id, certPem: cert, keyPem: key }) => {
      const context = createSecureContext({ ca: orders.caPem, cert, key });
      return { id, context, bundle: "", has: new Set(), armed: false };
    });
  }
  return { at: Date.now() };
}

async function connectAll(atATime: number): Promise<void> {
  const left = [...proxies];
  const worker = async () => {
    for (let proxy = left.shift(); proxy !== undefined; proxy = left.shift()) await connectOne(proxy);
  };
  await Promise.all(Array.from({ length: atATime }, worker));
}

/** Tries again until it is served: a burst may overflow the listen queue. */
async function connectOne(proxy: Proxy): Promise<void> {
  for (;;) {
    proxy.has = new Set();
    const session = connect(`https://127.0.0.1:${target.port}`, {
      secureContext: proxy.context,
      servername: target.serverName,
    });
    proxy.session = session;
    session.on("error", () => undefined);
    const served = await new Promise<boolean>((resolve) => {
      session.once("close", () => resolve(false));
      const stream = rawCall(session, AGGREGATED.sotw.path);
      stream.on("close", () => session.destroy());
      eachMessage(stream, (message) => {
        take(proxy, stream, message);
        if (proxy.has.size === target.names.length) resolve(true);
      });
      say(stream, { versionInfo: "", responseNonce: "", node: { id: proxy.id, cluster: "bench" } });
    });
    if (served) return;
  }
}

function take(proxy: Proxy, stream: ClientHttp2Stream, message: Buffer): void {
  const { version, nonce, resources } = decodeSotwResponse(message);
  say(stream, { versionInfo: version, responseNonce: nonce });
  for (const { any } of resources) {
    const { name } = decodeSecret(any);
    proxy.has.add(name);
    if (name !== target.names[0] || version === proxy.bundle) continue;
    proxy.bundle = version;
    if (!proxy.armed) continue;
    proxy.armed = false;
    waiting -= 1;
    if (waiting === 0) finished?.();
  }
}

function say(
  stream: ClientHttp2Stream,
  more: { versionInfo: string; responseNonce: string; node?: { id: string; cluster: string } },
): void {
  const payload = encodeSotwRequest({ typeUrl: SECRET_TYPE_URL, resourceNames: target.names, ...more });
  stream.write(framed(payload));
}
