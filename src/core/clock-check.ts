/**
 * A wall clock that is not believed blindly. The clock of a machine is set, wrong after a start, or leaps for a while and comes
 * back; the process's own monotonic clock does none of it, and what is on disk tells how late it is at least. While the two
 * disagree there are two readings: intervals go on by the old one, and what has an end or a beginning is judged by both.
 */

/** Milliseconds since the epoch. Both are the same while nobody doubts the clock. */
export type ClockSpan = {
  readonly earliest: number;
  readonly latest: number;
  /** Of the doubt: another number for each leap; 0: there is none. */
  readonly doubt: number;
};

export type ClockReading = { readonly wall: number; readonly monotonic: number };

export type ClockCheck = {
  readonly at: ClockReading;
  /** What is believed to have been the time at `at`. */
  readonly believed: number;
  /** It was never read from a clock, only told by what is on disk. */
  readonly isGuessed: boolean;
  /** It is at least as late: the latest time on record. */
  readonly floor: number;
  /** How often the wall clock has leapt. */
  readonly leaps: number;
  /** `since`: by the monotonic clock; `byMs`: how far the wall clock is ahead of what is believed. */
  readonly doubt: { readonly since: number; readonly byMs: number } | undefined;
};

export type ClockNews = { readonly kind: "leapt" | "returned" | "believed"; readonly byMs: number };

/** Certificates are back-dated by two minutes, so less than this harms nothing; nobody corrects a running clock by more. */
const CLOCK_TOLERANCE_MS = 30_000;
/** A clock that leapt and has stayed there for so long is believed. */
export const CLOCK_BELIEVED_AFTER_MS = 3_600_000;

export function newClockCheck(at: ClockReading): ClockCheck {
  const floor = Number.NEGATIVE_INFINITY;
  return { at, believed: at.wall, isGuessed: false, floor, leaps: 0, doubt: undefined };
}

/** `recordedAt`: the latest time on record of a process before this one. A clock that shows an earlier one is wrong, or was. */
export function withRecord(check: ClockCheck, recordedAt: number): ClockCheck {
  const floor = Math.max(check.floor, recordedAt);
  if (check.doubt !== undefined || floor - check.believed <= CLOCK_TOLERANCE_MS) return { ...check, floor };
  const doubt = { since: check.at.monotonic, byMs: check.believed - floor };
  return { ...check, floor, believed: floor, isGuessed: true, leaps: check.leaps + 1, doubt };
}

export function readClock(before: ClockCheck, at: ClockReading): { check: ClockCheck; news: ClockNews | undefined } {
  const believed = before.believed + at.monotonic - before.at.monotonic;
  const byMs = at.wall - believed;
  const same = { ...before, at, believed };
  const follow = { ...same, believed: at.wall, isGuessed: false, doubt: undefined };
  const { doubt, floor } = before;
  if (Math.abs(byMs) <= CLOCK_TOLERANCE_MS) {
    const news = doubt && ({ kind: "returned", byMs: doubt.byMs } as const);
    return { check: follow, news };
  }
  // What was believed can't be: it was a guess, or is earlier than what is on record.
  const isDisproved = (before.isGuessed || believed < floor) && at.wall >= floor;
  const isBelieved = doubt !== undefined && at.monotonic - doubt.since >= CLOCK_BELIEVED_AFTER_MS;
  if (doubt === undefined || Math.abs(byMs - doubt.byMs) > CLOCK_TOLERANCE_MS) {
    const leaps = before.leaps + 1;
    if (isDisproved) return { check: { ...follow, leaps }, news: { kind: "believed", byMs } };
    return { check: { ...same, leaps, doubt: { since: at.monotonic, byMs } }, news: { kind: "leapt", byMs } };
  }
  if (!isBelieved) return { check: same, news: undefined };
  return { check: { ...follow, floor: Math.min(floor, at.wall) }, news: { kind: "believed", byMs } };
}

export function spanOf({ at, believed, doubt, leaps }: ClockCheck): ClockSpan {
  const now = Math.floor(believed);
  if (doubt === undefined) return { earliest: now, latest: now, doubt: 0 };
  return { earliest: Math.min(now, at.wall), latest: Math.max(now, at.wall), doubt: leaps };
}
