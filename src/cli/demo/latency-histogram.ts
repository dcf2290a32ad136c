/** Latencies in a fixed amount of memory: buckets that grow by 10 %, from 0.1 ms to over a minute. */

const FIRST_MS = 0.1;
const GROWTH = 1.1;
const BUCKETS = 142;

export type LatencyHistogram = {
  record(ms: number): void;
  count(): number;
  /** Upper edge in milliseconds of the bucket that holds this share (0 to 1) of all values; 0 when there are none. */
  percentile(share: number): number;
};

export function latencyHistogram(): LatencyHistogram {
  const buckets = new Array<number>(BUCKETS).fill(0);
  let total = 0;
  return {
    record(ms) {
      const index = ms <= FIRST_MS ? 0 : Math.ceil(Math.log(ms / FIRST_MS) / Math.log(GROWTH));
      const bucket = Math.min(index, BUCKETS - 1);
      buckets[bucket] = (buckets[bucket] ?? 0) + 1;
      total++;
    },
    count: () => total,
    percentile(share) {
      let left = Math.ceil(share * total);
      if (left <= 0) return 0;
      for (const [index, count] of buckets.entries()) {
        left -= count;
        if (left <= 0) return Number((FIRST_MS * GROWTH ** index).toPrecision(3));
      }
      return Number((FIRST_MS * GROWTH ** (BUCKETS - 1)).toPrecision(3));
    },
  };
}
