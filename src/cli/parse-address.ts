import { MeshrootError } from "../core/errors.ts";

/** `host:port` as given, undefined where none was. Throws MR5002 for anything else. */
export function parseAddress(text: string | undefined, flag: string): string | undefined {
  const port = /^[^/?#\s]+:(\d{1,5})$/.exec(text ?? "")?.[1];
  if (text === undefined || (port !== undefined && Number(port) > 0 && Number(port) <= 65_535)) return text;
  throw new MeshrootError("MR5002", `${flag} "${text}" is not host:port`, "Give it like 127.0.0.1:15128.");
}
