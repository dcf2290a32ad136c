/** Logging: pino JSON with OSM's keys, pretty on a terminal. Keys and tokens are cut out wherever they turn up. */

import { type DestinationStream, type Logger, pino, stdTimeFunctions } from "pino";
import pretty from "pino-pretty";

export type LogOptions = {
  readonly level: string;
  readonly format: "auto" | "json" | "pretty";
  /** Default: standard error. */
  readonly destination?: DestinationStream | undefined;
};

const SECRET_KEYS = ["privateKeyPem", "privateKey", "token", "key"];

/** What can't be written (a file on a full disk) is kept up to this many characters, then lost: a log stops no server. */
const MAX_UNWRITTEN = 1024 * 1024;

function standardError(): DestinationStream {
  const stream = pino.destination({ dest: 2, sync: true, maxLength: MAX_UNWRITTEN });
  stream.on("error", () => undefined);
  return stream;
}

export function createLog({ level, format, destination }: LogOptions): Logger {
  const options = {
    level,
    base: null,
    messageKey: "message",
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: SECRET_KEYS.flatMap((key) => [key, `*.${key}`]), censor: "[redacted]" },
  };
  const stderr = destination ?? standardError();
  const isTerminal = destination === undefined && process.stderr.isTTY === true;
  const isPretty = format === "pretty" || (format === "auto" && isTerminal);
  if (!isPretty) return pino(options, stderr);
  const stream = pretty({
    destination: stderr as never,
    sync: true,
    messageKey: "message",
    translateTime: "HH:MM:ss.l",
    ignore: "component",
    singleLine: true,
    colorize: process.env.NO_COLOR === undefined,
  });
  return pino(options, stream);
}
