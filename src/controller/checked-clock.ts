/** The server's clock: the wall clock, checked against the monotonic one (core/clock-check.ts), with a loud word when it leaps. */

import { type ClockNews, type ClockSpan, newClockCheck, readClock, spanOf, withRecord } from "../core/clock-check.ts";
import { formatDuration } from "../core/duration.ts";
import type { Clock } from "../ports/clock.ts";
import type { Log } from "../ports/log.ts";

export type CheckedClock = Clock & {
  /** The readings that the wall clock and the monotonic one leave possible. */
  span(): ClockSpan;
  /** The latest time on record of a process before this one. */
  recall(recordedAt: number): void;
  /** How often the wall clock has leapt, and by how many milliseconds it is off what is believed now. */
  readonly leaps: number;
  readonly offMs: number;
};

/**
 * `monotonic`: milliseconds of the process's own clock. A clock that brings one of its own is checked by it; any other is followed
 * wherever it goes, and its leaps are only reported.
 */
export function checkedClock(clock: Clock, log: Log, monotonic: () => number): CheckedClock {
  const own = clock.monotonic ?? monotonic;
  const read = () => ({ wall: clock.now(), monotonic: own() });
  let check = newClockCheck(read());
  const look = (): void => {
    const { check: next, news } = readClock(check, read());
    check = next;
    if (news !== undefined) report(log, news, next.at.wall);
  };
  const isFollowed = clock.monotonic === undefined;
  return {
    now: () => {
      look();
      return isFollowed ? check.at.wall : Math.floor(check.believed);
    },
    after: clock.after,
    span: () => {
      look();
      return isFollowed ? { earliest: check.at.wall, latest: check.at.wall, doubt: 0 } : spanOf(check);
    },
    recall: (recordedAt) => {
      const before = check;
      check = withRecord(check, recordedAt);
      if (check.isGuessed && !before.isGuessed) reportEarly(log, check.at.wall, recordedAt);
    },
    get leaps() {
      return check.leaps;
    },
    get offMs() {
      return check.doubt === undefined ? 0 : check.at.wall - check.believed;
    },
  };
}

/** Of any clock: one that is not checked leaves one reading possible. */
export function clockSpan(clock: Clock): ClockSpan {
  const now = clock.now();
  return clock.span?.() ?? { earliest: now, latest: now, doubt: 0 };
}

const HINT =
  "Look at this machine's time service (`timedatectl`, chrony). Certificates are made so that they are valid by both readings, and no absent proxy is counted out by the later one.";

function report(log: Log, { kind, byMs }: ClockNews, wall: number): void {
  const way = `${byMs > 0 ? "ahead" : "back"} by ${formatDuration(Math.round(Math.abs(byMs) / 1000) * 1000)}`;
  const fields = { component: "clock", code: "MR2020", byMs: Math.round(byMs) };
  const now = new Date(wall).toISOString();
  if (kind === "leapt") log.error({ ...fields, hint: HINT }, `MR2020 the clock leapt ${way}, to ${now}`);
  if (kind === "returned") log.warn(fields, `the clock is back: it had leapt ${way}`);
  if (kind === "believed") log.warn(fields, `the clock, which leapt ${way}, is believed from now on: it is ${now}`);
}

function reportEarly(log: Log, wall: number, recordedAt: number): void {
  const [now, recorded] = [new Date(wall).toISOString(), new Date(recordedAt).toISOString()];
  log.error(
    { component: "clock", code: "MR2020", hint: HINT },
    `MR2020 the clock shows ${now}, which is earlier than what is on record, ${recorded}: it is wrong, or it was`,
  );
}
