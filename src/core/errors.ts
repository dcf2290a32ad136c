/**
 * The whole error vocabulary. A code never changes its meaning and is never used again for another one, so that
 * people can search for it and scripts can branch on it.
 *
 * MR1xxx MeshRootCertificate objects · MR2xxx store and data directory · MR3xxx certificates and providers ·
 * MR4xxx xDS · MR5xxx command line and configuration · MR6xxx Envoy binaries and processes
 */
export const ERROR_CODES = {
  MR1001: "not a MeshRootCertificate",
  MR1002: "unknown field",
  MR1003: "missing or malformed field",
  MR1004: "not exactly one provider",
  MR1005: "immutable field changed",
  MR1006: "role change not allowed",
  MR1007: "set of roots not allowed",
  MR1008: "root in use",
  MR1009: "root not found",
  MR1010: "root already exists",
  MR1011: "provider not available",
  MR1012: "root still signs",
  MR1013: "roots can't be told apart",
  MR2001: "data directory in use",
  MR2002: "data directory not usable",
  MR2003: "YAML syntax error",
  MR2004: "stored state unreadable",
  MR2005: "secret unreadable",
  MR2006: "services file invalid",
  MR2010: "file too large",
  MR2020: "clock not to be believed",
  MR2021: "stored trust changed by another",
  MR3001: "certificate authority corrupt",
  MR3002: "certificate authority expired",
  MR3003: "certificate authority not yet valid",
  MR3004: "signing failed",
  MR3005: "PEM not usable",
  MR3006: "root can't carry this mesh",
  MR3007: "name outside the root's constraints",
  MR3008: "root ends too soon",
  MR3009: "signer ends soon",
  MR3010: "root changed underneath",
  MR3011: "certificate authority failed",
  MR4001: "xDS client refused",
  MR4002: "xDS request invalid",
  MR4003: "secret withheld",
  MR4004: "client status request invalid",
  MR4010: "uuid of another identity",
  MR5001: "unknown command or flag",
  MR5002: "configuration invalid",
  MR5003: "address in use",
  MR5004: "server unreachable",
  MR5005: "not found",
  MR5006: "not converged in time",
  MR5007: "name not unique",
  MR5008: "proxy is connected",
  MR5011: "socket not trusted",
  MR6001: "Envoy not found",
  MR6002: "Envoy did not start",
  MR6003: "machine overloaded",
  MR6004: "requests fail without a rotation",
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

/** A fault described as a value: what is wrong and what to do next. Core returns these; the layers above throw. */
export type Problem = { readonly code: ErrorCode; readonly message: string; readonly hint: string };

/** The one error class. `message` begins with the code, so a log line needs no decoding. */
export class MeshrootError extends Error {
  readonly code: ErrorCode;
  readonly hint: string;

  constructor(code: ErrorCode, message: string, hint: string, cause?: unknown) {
    super(`${code} ${message}`, cause === undefined ? {} : { cause });
    this.name = "MeshrootError";
    this.code = code;
    this.hint = hint;
  }

  static from(problem: Problem): MeshrootError {
    return new MeshrootError(problem.code, problem.message, problem.hint);
  }
}

/** Throws the problem if there is one. */
export function raise(problem: Problem | undefined): void {
  if (problem !== undefined) throw MeshrootError.from(problem);
}

/** What to do next where nobody can listen: another process has the address, or the system refuses it. */
export type ListenHints = { readonly inUse: string; readonly unusable: string };

/** `flag` chooses another address. */
export function listenHints(flag: string): ListenHints {
  return {
    inUse: `Stop the other process, or choose another ${flag}.`,
    unusable: `Give --bind an address of this machine, and ${flag} one that this user may open.`,
  };
}

/** MR5003: `what` can't listen on `address`. `code` is the system's (EADDRINUSE, ...). */
export function cannotListen(
  what: string,
  address: string,
  code: string,
  hints: ListenHints,
  cause: unknown,
): MeshrootError {
  return code === "EADDRINUSE"
    ? new MeshrootError("MR5003", `${what} address ${address} is in use`, hints.inUse, cause)
    : new MeshrootError("MR5003", `${what} can't listen on ${address}: ${code}`, hints.unusable, cause);
}
