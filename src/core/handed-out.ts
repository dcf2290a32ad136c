/**
 * xDS credentials that were handed out for a proxy (evidence.md C5). A folder holds one set at a time: whoever comes with a
 * credential has had those that were handed out before it. What comes late or never, nobody tells us.
 */

import type { BundleContent } from "./content.ts";
import type { Consumer, Line, ProxyRow, XdsCredential } from "./ledger-state.ts";

/** In the place of a stream: what came with a credential that was handed out. */
const HANDED_OUT = "handed-out";

/** A side of this proxy comes with `credential`; `seq`: of the ledger, now. */
export function noteUse(
  row: ProxyRow,
  { consumer, credential, seq, at }: { consumer: Consumer; credential: XdsCredential; seq: number; at: number },
): void {
  const used = row.issued.findIndex(({ fingerprint }) => fingerprint === credential.fingerprint);
  const found = row.issued[used];
  if (found !== undefined && found.arrived === undefined) bringBundle(row, found.bundle, seq, at);
  const isPast = new Set(row.issued.filter((one, index) => index <= used || one.notBefore < credential.notBefore));
  // An Envoy that uses it is done with those before. An agent tells only what lies in the folder.
  row.issued =
    consumer === "envoy"
      ? row.issued.filter((one) => !isPast.has(one))
      : row.issued.map((one) => (isPast.has(one) ? { arrived: seq, ...one } : one));
}

/** The bundle has taken the place of what the agent proved, and no stream brought it: an orphan set, as in E6. */
function bringBundle(row: ProxyRow, content: BundleContent, seq: number, at: number): void {
  const entries = [{ seq, content }];
  const line: Line = { stream: HANDED_OUT, entries, overlapped: false, ended: { at, seq }, superseded: false };
  const isSame = ({ stream, entries }: Line) =>
    stream === HANDED_OUT && entries.every((entry) => entry.content.version === content.version);
  for (const slot of row.slots.values())
    if (slot.kind === "xdsBundle") slot.lines = [...slot.lines.filter((other) => !isSame(other)), line];
}

/** The agent ACKs what was sent as `seq`: it is loaded (C3), and has replaced what lay in the folder when it was sent. */
export function noteProof(row: ProxyRow, seq: number): void {
  if (row.issued.some(({ arrived }) => arrived !== undefined && arrived < seq))
    row.issued = row.issued.filter(({ arrived }) => arrived === undefined || arrived >= seq);
}

export function forgetExpired(row: ProxyRow, now: number): void {
  if (row.issued.some(({ notAfter }) => now >= notAfter))
    row.issued = row.issued.filter(({ notAfter }) => now < notAfter);
}
