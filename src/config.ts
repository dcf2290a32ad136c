/**
 * Everything that can be set, from flags and environment. A flag wins over its variable; every problem is reported at once
 * (MR5002). One table drives flags, variables, defaults and help, so they can't drift apart.
 */

import { z } from "zod";
import { parseHost } from "./core/address.ts";
import { formatDuration, parseDuration } from "./core/duration.ts";
import { MeshrootError } from "./core/errors.ts";
import { isDnsLabel, isDnsName } from "./core/identity.ts";
import { DEFAULT_NAMESPACE, DEFAULT_TRUST_DOMAIN } from "./core/roots/mesh-root.ts";
import { neededRootLife } from "./core/roots/root-life.ts";
import { KEY_ALGORITHMS } from "./pki/keys.ts";

const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;

const text = z.string().min(1, "is empty");
const port = z.coerce
  .string()
  .regex(/^\d{1,5}$/, "is not a port (0-65535, 0 takes a free one)")
  .transform(Number)
  .refine((number) => number <= 65_535, "is not a port (0-65535, 0 takes a free one)");
const flag = z
  .union([z.boolean(), z.literal("true"), z.literal("false")], "is not true or false")
  .transform((value) => value === true || value === "true");

function duration(minimumMs = 0) {
  return text
    .transform(parseDuration)
    .refine((ms) => ms !== undefined, { error: 'is not a duration (like "24h", "1h30m", "500ms")', abort: true })
    .transform((ms) => ms ?? 0)
    .refine((ms) => ms >= minimumMs, `is less than ${formatDuration(minimumMs)}`);
}

function word<const Words extends readonly [string, ...string[]]>(...words: Words) {
  return z.enum(words, `is not one of ${words.join(", ")}`);
}

const SCHEMA = z.object({
  dataDir: text,
  bind: text
    .transform(parseHost)
    .refine((host) => host !== undefined, "is not an IP address or a host name")
    .transform((host) => host?.host ?? ""),
  xdsPort: port,
  httpPort: port,
  healthPort: port,
  namespace: text.refine(isDnsLabel, "is not a namespace (a DNS label)"),
  trustDomain: text.refine(isDnsName, "is not a DNS name"),
  enableSpiffe: flag,
  leafValidityMs: duration(MINUTE_MS),
  xdsCertValidityMs: duration(HOUR_MS),
  rootValidityMs: duration(HOUR_MS),
  leafKeyAlgorithm: word(...KEY_ALGORITHMS),
  rootKeyAlgorithm: word(...KEY_ALGORITHMS),
  settleMs: duration(),
  recoveryWindowMs: duration(),
  absentPolicy: word("until-leaf-expiry", "wait"),
  // Four fifths of it are longer than a proxy has to stay until it is no stranger any more (E13): else it never gets a leaf.
  maxStreamAgeMs: duration(MINUTE_MS),
  streamRate: z.coerce
    .string()
    .regex(/^[1-9]\d{0,5}$/, "is not a number of streams per second (1-999999)")
    .transform(Number),
  maxRequestBytes: z.coerce
    .string()
    .regex(/^[1-9]\d{3,8}$/, "is not a number of bytes (1000-999999999)")
    .transform(Number),
  drainWindowMs: duration(),
  xdsPortExtras: word("on", "off"),
  logLevel: word("trace", "debug", "info", "warn", "error", "fatal", "silent"),
  logFormat: word("auto", "json", "pretty"),
});

/** Frozen. Durations are in milliseconds. */
export type Config = Readonly<z.output<typeof SCHEMA>>;
export type Setting = keyof Config;

/** What the command line needs to know about a setting. */
type SettingDoc = { readonly placeholder: string; readonly standard: string | false; readonly help: string };

/** In the order of `--help`. `placeholder` is empty for a switch. */
export const SETTINGS: Readonly<Record<Setting, SettingDoc>> = {
  dataDir: { placeholder: "<path>", standard: "./meshroot-data", help: "directory with roots, secrets and state" },
  namespace: { placeholder: "<name>", standard: DEFAULT_NAMESPACE, help: "control namespace: only its roots are used" },
  bind: { placeholder: "<address>", standard: "127.0.0.1", help: "address to listen on" },
  xdsPort: { placeholder: "<port>", standard: "15128", help: "gRPC port for proxies" },
  httpPort: { placeholder: "<port>", standard: "9091", help: "port for metrics, health and the admin API" },
  healthPort: { placeholder: "<port>", standard: "15129", help: "port for gRPC health checks, plain text" },
  trustDomain: { placeholder: "<name>", standard: DEFAULT_TRUST_DOMAIN, help: "trust domain of the first root" },
  enableSpiffe: { placeholder: "", standard: false, help: "let the first root write SPIFFE URIs into certificates" },
  leafValidityMs: { placeholder: "<duration>", standard: "24h", help: "lifetime of service certificates" },
  xdsCertValidityMs: { placeholder: "<duration>", standard: "720h", help: "lifetime of xDS connection certificates" },
  rootValidityMs: { placeholder: "<duration>", standard: "87600h", help: "lifetime of roots that meshroot makes" },
  leafKeyAlgorithm: { placeholder: "<name>", standard: "ec-p256", help: KEY_ALGORITHMS.join(", ") },
  rootKeyAlgorithm: { placeholder: "<name>", standard: "rsa-2048", help: "the same choice, for roots" },
  settleMs: {
    placeholder: "<duration>",
    standard: "5s",
    help: "wait after the last ACK before a gate opens; at least the largest connect_timeout in the mesh",
  },
  recoveryWindowMs: {
    placeholder: "<duration>",
    standard: "45s",
    help: "how long after a restart proxies have to report again",
  },
  absentPolicy: {
    placeholder: "<name>",
    standard: "until-leaf-expiry",
    help: "how long a disconnected proxy holds gates: until-leaf-expiry, wait",
  },
  maxStreamAgeMs: {
    placeholder: "<duration>",
    standard: "30m",
    help: "how long an xDS stream lasts, give or take a fifth; its proxy opens the next one at once",
  },
  streamRate: { placeholder: "<number>", standard: "1000", help: "new xDS streams that are let in per second" },
  maxRequestBytes: {
    placeholder: "<number>",
    standard: "4194304",
    help: "largest xDS request; a proxy that asks for more names at once than fit is refused",
  },
  drainWindowMs: {
    placeholder: "<duration>",
    standard: "5s",
    help: "over how long proxies are let go at SIGTERM, so that they do not all come back at once",
  },
  xdsPortExtras: {
    placeholder: "<on|off>",
    standard: "on",
    help: "gRPC health and reflection on the port for proxies, too",
  },
  logLevel: { placeholder: "<name>", standard: "info", help: "trace, debug, info, warn, error, fatal, silent" },
  logFormat: { placeholder: "<name>", standard: "auto", help: "auto (pretty on a terminal), json, pretty" },
};

/** `settleMs` as `settle`: units stand in the code, people write them behind the number. */
function optionName(setting: Setting): string {
  return setting.replace(/Ms$/, "");
}

/** `dataDir` as `--data-dir`. */
export function flagName(setting: Setting): string {
  return `--${optionName(setting).replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** `dataDir` as `MESHROOT_DATA_DIR`. */
export function variableName(setting: Setting): string {
  return `MESHROOT_${optionName(setting)
    .replace(/[A-Z]/g, (letter) => `_${letter}`)
    .toUpperCase()}`;
}

type Source = { readonly name: string; readonly value: unknown };

/**
 * The configuration from parsed flags (camel case, as commander gives them; undefined where not given) and environment.
 * Throws MR5002 with one line per problem.
 */
export function loadConfig(
  flags: Readonly<Record<string, unknown>>,
  env: Readonly<Record<string, string | undefined>>,
): Config {
  const config = loadSettings(Object.keys(SETTINGS) as Setting[], flags, env);
  const problems = conflicts(config);
  if (problems.length > 0) throw invalid(problems);
  return Object.freeze(config);
}

/** Some settings only, for a command that needs no more: what it doesn't use can't stop it. Throws MR5002. */
export function loadSettings<Name extends Setting>(
  settings: readonly Name[],
  flags: Readonly<Record<string, unknown>>,
  env: Readonly<Record<string, string | undefined>>,
): Pick<Config, Name> {
  const problems: string[] = [];
  const values = settings.map((setting) => {
    const { name, value } = sourceOf(setting, flags, env);
    const parsed = SCHEMA.shape[setting].safeParse(value);
    for (const issue of parsed.error?.issues ?? []) problems.push(`${name} ${JSON.stringify(value)} ${issue.message}`);
    return [setting, parsed.data];
  });
  if (problems.length > 0) throw invalid(problems);
  return Object.fromEntries(values) as Pick<Config, Name>;
}

function invalid(problems: readonly string[]): MeshrootError {
  return new MeshrootError(
    "MR5002",
    `configuration invalid\n${problems.map((problem) => `  ${problem}`).join("\n")}`,
    "Add --help to see every setting with its form and default.",
  );
}

function sourceOf(
  setting: Setting,
  flags: Readonly<Record<string, unknown>>,
  env: Readonly<Record<string, string | undefined>>,
): Source {
  const variable = variableName(setting);
  const fromEnv = env[variable];
  const fromFlag = flags[optionName(setting)];
  if (fromFlag !== undefined) return { name: flagName(setting), value: fromFlag };
  // For a Service called meshroot-xds Kubernetes itself sets MESHROOT_XDS_PORT, to a URL (its Docker link variables).
  const isLink = setting.endsWith("Port") && fromEnv?.startsWith("tcp://") === true;
  if (fromEnv !== undefined && fromEnv !== "" && !isLink) return { name: variable, value: fromEnv };
  return { name: flagName(setting), value: SETTINGS[setting].standard };
}

function conflicts(config: Config): string[] {
  const problems: string[] = [];
  for (const [shorter, longer] of [
    ["leafValidityMs", "rootValidityMs"],
    ["xdsCertValidityMs", "rootValidityMs"],
  ] as const) {
    if (config[shorter] > config[longer])
      problems.push(
        `${flagName(shorter)} ${formatDuration(config[shorter])} is longer than ${flagName(longer)} ${formatDuration(config[longer])}`,
      );
  }
  // Else the root that the first start makes would be refused (MR3008).
  const needed = neededRootLife(config);
  if (problems.length === 0 && config.rootValidityMs < needed)
    problems.push(
      `${flagName("rootValidityMs")} ${formatDuration(config.rootValidityMs)} is shorter than ${formatDuration(needed)}, in which certificates of these lives are renewed and a rotation ends`,
    );
  const ports = (["xdsPort", "httpPort", "healthPort"] as const).filter((setting) => config[setting] !== 0);
  for (const [index, setting] of ports.entries()) {
    const earlier = ports.slice(0, index).find((other) => config[other] === config[setting]);
    if (earlier !== undefined) problems.push(`${flagName(setting)} ${config[setting]} is ${flagName(earlier)} too`);
  }
  return problems;
}
