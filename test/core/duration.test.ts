import assert from "node:assert/strict";
import { test } from "node:test";
import { formatDuration, parseDuration } from "../../src/core/duration.ts";
import fc from "../support/property.ts";

test("reads what Go writes", () => {
  const rows: [string, number][] = [
    ["0", 0],
    ["0s", 0],
    ["24h", 86_400_000],
    ["87600h", 315_360_000_000],
    ["1h30m", 5_400_000],
    ["24h0m0s", 86_400_000],
    ["1.5s", 1500],
    ["0.001s", 1],
    ["1.1s", 1100],
    ["1500ms", 1500],
    ["1000us", 1],
    ["1000000ns", 1],
    ["2000µs", 2],
  ];
  for (const [text, ms] of rows) assert.equal(parseDuration(text), ms, text);
});

test("refuses everything else", () => {
  const rows = [
    "",
    " 1s",
    "1s ",
    "1",
    "1d",
    "-1s",
    "+1s",
    ".5s",
    "1.s",
    "5 s",
    "1S",
    "1h 30m",
    "1ns",
    "1.0001s",
    "1e3s",
  ];
  for (const text of [...rows, "2562048h", "Infinity", "0x10s"]) assert.equal(parseDuration(text), undefined, text);
});

test("writes the short form", () => {
  const rows: [number, string][] = [
    [0, "0s"],
    [5000, "5s"],
    [500, "500ms"],
    [1500, "1.5s"],
    [1005, "1.005s"],
    [86_400_000, "24h"],
    [5_400_000, "1h30m"],
    [3_600_500, "1h0.5s"],
  ];
  for (const [ms, text] of rows) assert.equal(formatDuration(ms), text);
});

test("reads back every duration that it writes", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 9_000_000_000_000 }), (ms) => parseDuration(formatDuration(ms)) === ms),
  );
});
