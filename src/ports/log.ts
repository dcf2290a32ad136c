/** Lines for the operator. */

/** The part of a logger that the controller uses; pino fits. */
export type Log = {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
};

const nothing = () => undefined;
/** For commands, which say themselves what there is to say. */
export const QUIET: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing };
