/** Durations as Go writes them (`24h`, `1h30m`, `1.5s`, `500ms`), because OSM's options and manifests do. */

const NANOSECONDS: Readonly<Record<string, bigint>> = {
  ns: 1n,
  us: 1_000n,
  µs: 1_000n,
  μs: 1_000n,
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
};
const PART = /(\d+)(?:\.(\d+))?(ns|us|µs|μs|ms|s|m|h)/g;
const WHOLE = /^(?:\d+(?:\.\d+)?(?:ns|us|µs|μs|ms|s|m|h))+$/;
/** Go holds a duration in a signed 64-bit count of nanoseconds, so what it cannot hold was never valid there. */
const GO_MAXIMUM = 2n ** 63n - 1n;

/**
 * Reads a Go duration (`time.ParseDuration`) and returns milliseconds, or undefined when it is not one. Stricter than Go:
 * no sign, no bare dot (`.5s`, `1.s`), and the total must be whole milliseconds, since that is our unit of time.
 */
export function parseDuration(text: string): number | undefined {
  if (text === "0") return 0;
  if (!WHOLE.test(text)) return undefined;
  let total = 0n;
  for (const [, whole = "", fraction = "", unit = ""] of text.matchAll(PART)) {
    const nanoseconds = NANOSECONDS[unit] ?? 0n;
    const scale = 10n ** BigInt(fraction.length);
    const scaled = BigInt(whole + fraction) * nanoseconds;
    if (scaled % scale !== 0n) return undefined;
    total += scaled / scale;
  }
  return total > GO_MAXIMUM || total % 1_000_000n !== 0n ? undefined : Number(total / 1_000_000n);
}

/**
 * Writes whole, non-negative milliseconds so that `parseDuration` reads them back. Shorter than Go's `String()`: parts
 * that are zero are left out (`24h`, not `24h0m0s`).
 */
export function formatDuration(ms: number): string {
  if (ms < 1000) return ms === 0 ? "0s" : `${ms}ms`;
  const hours = Math.floor(ms / 3_600_000);
  const minutes = Math.floor((ms % 3_600_000) / 60_000);
  const restMs = ms % 60_000;
  const fraction =
    restMs % 1000 === 0
      ? ""
      : `.${String(restMs % 1000)
          .padStart(3, "0")
          .replace(/0+$/, "")}`;
  const seconds = restMs === 0 ? "" : `${Math.floor(restMs / 1000)}${fraction}s`;
  return `${hours > 0 ? `${hours}h` : ""}${minutes > 0 ? `${minutes}m` : ""}${seconds}`;
}
