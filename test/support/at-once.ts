/** Work for as many processes as there are cores. */

import { availableParallelism } from "node:os";

/** The results, in the order of `items`; at most so many for each core are under way. The first failure ends it. */
export async function atOnce<T, R>(items: readonly T[], work: (item: T) => Promise<R>, forEachCore = 1): Promise<R[]> {
  const results: R[] = [];
  const waiting = [...items.entries()];
  const worker = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) results[next[0]] = await work(next[1]);
  };
  await Promise.all(Array.from({ length: forEachCore * availableParallelism() }, worker));
  return results;
}
