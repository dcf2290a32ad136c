/** Prometheus metrics. No label names a proxy: a mesh has thousands. */

import { Counter, Gauge, Histogram, Registry } from "@prometheus-io/client";

export type Metrics = ReturnType<typeof createMetrics>;

export function createMetrics() {
  const registry = new Registry();
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: L[]) =>
    new Counter({ name: `meshroot_${name}`, help, labelNames, registers });
  const gauge = <L extends string>(name: string, help: string, labelNames: L[]) =>
    new Gauge({ name: `meshroot_${name}`, help, labelNames, registers });
  return {
    registry,
    buildInfo: gauge("build_info", "Always 1; the version is the label.", ["version"]),
    xdsStreams: gauge("xds_streams", "Open xDS streams.", []),
    xdsMessages: counter(
      "xds_messages_total",
      "xDS messages by what they were: request, response, ack, nack, unknown, superseded, invalid.",
      ["type"],
    ),
    xdsRefused: counter("xds_clients_refused_total", "TLS clients that were refused on the xDS port.", []),
    turnedAway: counter(
      "connections_turned_away_total",
      "Connections that were closed by us: late to prove who they are, or no room for all (crowded).",
      ["door", "why"],
    ),
    proxies: gauge("proxies", "Known proxies by their state: SYNCED, NOT SENT, STALE, ERROR, UNKNOWN.", ["sync"]),
    certificatesIssued: counter("certificates_issued_total", "Certificates issued.", ["kind", "result"]),
    certificateIssueSeconds: new Histogram({
      name: "meshroot_certificate_issue_duration_seconds",
      help: "Time to make a key and have its certificate signed.",
      buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10],
      registers,
    }),
    rootInfo: gauge("root_info", "One series for each root: its role and what it does in the mesh.", [
      "name",
      "role",
      "fingerprint",
      "signing",
      "validating",
    ]),
    rootExpiry: gauge("certificate_expiration_timestamp_seconds", "When a root expires, seconds since the epoch.", [
      "root",
    ]),
    stateWritable: gauge("state_writable", "1 while what is decided can be written down, else 0.", []),
    stateFailures: counter("state_write_failures_total", "Writes of the state that failed.", []),
    clockLeaps: counter("clock_leaps_total", "How often the wall clock has leapt.", []),
    clockOff: gauge(
      "clock_off_seconds",
      "How far the wall clock is ahead of what is believed to be the time; else 0.",
      [],
    ),
    signerEndsSoon: gauge(
      "signer_ends_soon",
      "1 while the signing root ends before the mesh could rotate away from it in peace.",
      [],
    ),
    trustGeneration: gauge("trust_generation", "Generation of the trust in force; rises with every change.", []),
    gateBlocked: gauge("rotation_gate_blocked", "1 while a change is held at this gate.", ["gate"]),
  };
}
