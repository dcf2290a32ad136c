/**
 * Text from outside, as it may be kept: it ends up in logs, in the ledger, in status and CSDS, where nobody looks for a key. Clients
 * have quoted their own.
 */

const MARK = "[PEM cut out]";
const MARKS = /(?<!-)-{4,}[ \t]*(BEGIN|END)\b[^-]{0,80}-{4,}/gi;
/** What base64 makes of `-----BEGIN`, as in a Kubernetes secret. */
const ENCODED = /LS0tL[A-Za-z0-9+/_=\s\\-]*/g;
/** A line of a PEM block without its marks. Hashes are shorter, or hexadecimal. */
const LINE = /[A-Za-z0-9+/]{60,}={0,2}/g;

/** `text` without PEM blocks, whole ones and what is left of one whose beginning or end is missing; at most `max` characters. */
export function foreignText(text: string, max: number): string {
  // Twice the room, so that a block that begins in it is seen; what comes later would be cut anyway.
  const some = text.slice(0, 2 * max);
  const cut = withoutBlocks(some)
    .replace(ENCODED, MARK)
    .replace(LINE, (line) => (/^[0-9a-f]+$/i.test(line) || !isMixed(line) ? line : MARK));
  return cut.length > max ? cut.slice(0, max).toWellFormed() : cut;
}

function isMixed(line: string): boolean {
  return /[a-z]/.test(line) && /[A-Z]/.test(line) && /\d/.test(line);
}

function withoutBlocks(text: string): string {
  let kept = "";
  let from = 0;
  let isOpen = false;
  for (const mark of text.matchAll(MARKS)) {
    const isBegin = mark[1]?.toUpperCase() === "BEGIN";
    if (isBegin && isOpen) continue;
    // Of an end without a beginning nobody knows how far it reaches back.
    if (isBegin) kept += text.slice(from, mark.index);
    if (!isOpen) kept += MARK;
    isOpen = isBegin;
    from = mark.index + mark[0].length;
  }
  return isOpen ? kept : kept + text.slice(from);
}
