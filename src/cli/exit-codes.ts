/** How the process ends. Scripts branch on these numbers: none changes its meaning. */

import { type ErrorCode, MeshrootError } from "../core/errors.ts";

export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  blocked: 3,
  timeout: 4,
  unreachable: 5,
  overloaded: 6,
  interrupted: 130,
} as const;

export const EXIT_HELP = `
Exit codes: 0 ok, 1 failed, 2 wrong usage or configuration, 3 a gate blocks (not converged),
4 timed out, 5 server unreachable, 6 the machine is too slow for the demo, 130 interrupted.`;

const OF_ERROR: Partial<Readonly<Record<ErrorCode, number>>> = {
  MR1012: EXIT.blocked,
  MR5001: EXIT.usage,
  MR5002: EXIT.usage,
  MR5004: EXIT.unreachable,
  MR5008: EXIT.blocked,
  MR6003: EXIT.overloaded,
};

/** The exit code for an error that ended a command. */
export function exitCodeOf(error: unknown): number {
  return (error instanceof MeshrootError ? OF_ERROR[error.code] : undefined) ?? EXIT.failed;
}
