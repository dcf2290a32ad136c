import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type Command, Option } from "commander";
import { loadConfig, type Setting } from "../config.ts";
import { MeshrootError } from "../core/errors.ts";
import { identityName, type ProxyKind, type ServiceIdentity } from "../core/identity.ts";
import { type Inbound, type Outbound, renderProxyFiles } from "../envoy/bootstrap.ts";
import { CREDENTIAL_FILES, writeCredentials } from "../envoy/credentials-dir.ts";
import { XDS_VARIANTS, type XdsVariant } from "../envoy/secret-sources.ts";
import { xdsIdentity } from "../pki/xds-identity.ts";
import type { CliContext } from "./context.ts";
import { parseAdmin, parseOutbounds, parseXdsHost, requireEndpoint, requirePort } from "./endpoint-flags.ts";
import { printWarnings } from "./print-holds.ts";
import { addSettings } from "./settings.ts";

type Flags = Record<string, unknown> & {
  out?: string;
  kind: ProxyKind;
  variant: XdsVariant;
  xdsHost: string;
  inbound: string;
  app: string;
  outbound: string[];
  admin: string;
  connectTimeout: string;
};

const SETTINGS_USED: readonly Setting[] = ["dataDir", "namespace", "xdsPort", "xdsCertValidityMs"];
const CONNECT_TIMEOUT_MS = 1_000;

/** `meshroot proxy bootstrap SA.NS`: everything that one Envoy needs, in one folder. */
export function addProxyBootstrap(parent: Command, context: CliContext): void {
  const command = parent
    .command("bootstrap <identity>")
    .description(
      "write an Envoy bootstrap, its xDS certificate and its file-SDS files for one identity (service-account.namespace)",
    )
    .option("--out <dir>", "folder to write to (default ./<identity>)")
    .addOption(new Option("--kind <kind>", "what the proxy is").choices(["sidecar", "gateway"]).default("sidecar"))
    .addOption(new Option("--variant <protocol>", "how it asks for secrets").choices(XDS_VARIANTS).default("sotw"))
    .option("--xds-host <host>", "where the proxy finds the server", "127.0.0.1")
    .option("--inbound <port>", "port for mTLS from other proxies", "15006")
    .option("--app <host:port>", "the application behind the proxy", "127.0.0.1:8080")
    .option(
      "--outbound <listen=ns/service@host:port>",
      "a way to another service's proxy; repeat for more",
      collect,
      [],
    )
    .option("--admin <host:port>", "admin address of the Envoy", "127.0.0.1:15000");
  addSettings(command, SETTINGS_USED).action(async (name: string, flags: Flags) => {
    const identity = parseIdentity(name);
    const xdsHost = parseXdsHost(flags.xdsHost);
    const admin = parseAdmin(flags.admin);
    const inbound: Inbound = {
      port: requirePort(flags.inbound, "--inbound"),
      app: requireEndpoint(flags.app, "--app"),
    };
    const outbound: readonly Outbound[] = parseOutbounds(flags.outbound);
    const out = resolve(flags.out ?? name);
    const certDir = join(out, "certs");
    const uuid = await knownProxy(certDir, identity);
    const request = { ...identity, kind: flags.kind, ...(uuid === undefined ? {} : { uuid }) };
    const config = loadConfig(flags, context.env);
    const mesh = context.openMesh(config);
    const made = await mesh.bootstrap(request, config);
    await mkdir(out, { recursive: true, mode: 0o700 });
    await writeCredentials(certDir, made);
    const files = renderProxyFiles({
      nodeId: made.proxy.uuid,
      cluster: identityName(identity),
      identity,
      xds: { host: xdsHost, port: made.xdsPort, serverName: made.serverName },
      variant: flags.variant,
      configDir: out,
      certDir,
      admin,
      inbound,
      outbound,
      connectTimeoutMs: CONNECT_TIMEOUT_MS,
    });
    for (const [file, text] of Object.entries(files)) await writeUnlessKept(join(out, file), text, uuid !== undefined);
    const until = `xDS certificate valid until ${made.notAfter.slice(0, 10)}`;
    context.stderr(
      uuid === undefined
        ? `Proxy ${made.proxy.uuid} (${name}), ${until}.\nStart it, with its agent: meshroot proxy run ${out}\n(Envoy alone: envoy --disable-hot-restart -c ${join(out, "bootstrap.yaml")})\n`
        : `New credentials for proxy ${uuid} (${name}), ${until}. A running Envoy uses them on its next connection.\n` +
            "bootstrap.yaml and the SDS files were left as they are; delete them to have them written anew.\n",
    );
    printWarnings(context, await mesh.status().catch(() => undefined));
    context.stdout(`${out}\n`);
  });
}

/** Renewing a credential must not undo what somebody has made of the bootstrap. */
async function writeUnlessKept(path: string, text: string, keep: boolean): Promise<void> {
  try {
    await writeFile(path, text, { mode: 0o600, flag: keep ? "wx" : "w" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

function collect(value: string, earlier: string[]): string[] {
  return [...earlier, value];
}

function parseIdentity(text: string): ServiceIdentity {
  const [serviceAccount, namespace, ...more] = text.split(".");
  if (serviceAccount && namespace && more.length === 0) return { serviceAccount, namespace };
  throw new MeshrootError(
    "MR5002",
    `"${text}" is no service identity`,
    "Give service-account.namespace, like bookbuyer.bookstore.",
  );
}

/** Written again into the same folder, a bootstrap is a new credential for the same proxy, not a new proxy. */
async function knownProxy(certDir: string, identity: ServiceIdentity): Promise<string | undefined> {
  let pem: string;
  try {
    pem = await readFile(join(certDir, CREDENTIAL_FILES.cert), "utf8");
  } catch {
    return undefined;
  }
  const proxy = xdsIdentity(pem);
  if (proxy !== undefined && identityName(proxy) === identityName(identity)) return proxy.uuid;
  const whose = proxy === undefined ? "something else" : identityName(proxy);
  throw new MeshrootError(
    "MR5002",
    `${certDir} holds the credentials of ${whose}`,
    "Choose another --out; nothing was overwritten.",
  );
}
