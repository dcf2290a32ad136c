/** One log line for a fault that lasts. */

import { MeshrootError } from "../core/errors.ts";

/** Says a fault that comes back with every attempt once, and again when it was another one in between. */
export function complainer(write: (fields: object, message: string) => void, component: string) {
  let last = "";
  return (error: unknown, sentence: (message: string) => string) => {
    const message = error === undefined ? "" : (error as Error).message;
    if (message === last) return;
    last = message;
    if (message === "") return;
    const fields = error instanceof MeshrootError ? { code: error.code, hint: error.hint } : { err: error };
    write({ component, ...fields }, sentence(message));
  };
}
