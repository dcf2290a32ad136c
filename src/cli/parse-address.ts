import { formatHostPort, parseHostPort } from "../core/address.ts";
import { MeshrootError } from "../core/errors.ts";

/** `host:port` as it stands in URLs, undefined where none was given. Throws MR5002 for anything else. */
export function parseAddress<Given extends string | undefined>(text: Given, flag: string): Given;
export function parseAddress(text: string | undefined, flag: string): string | undefined {
  if (text === undefined) return undefined;
  const parsed = parseHostPort(text);
  if (typeof parsed !== "string") return formatHostPort(parsed.host, parsed.port);
  throw new MeshrootError("MR5002", `${flag} "${text}" ${parsed}`, "Give it like 127.0.0.1:15128 or [::1]:15128.");
}
