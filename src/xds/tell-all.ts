/** Some 20 ms of work for secrets that are recorded first. Smaller slices would mean more waiting for the disk. */
const AT_A_TIME = 500;

/**
 * Calls them all: a first slice at once, then a slice per turn of the event loop, so that a push to thousands of streams
 * delays nobody's requests, health probes among them.
 */
export function tellAll(listeners: readonly (() => void)[]): void {
  let told = 0;
  const turn = () => {
    const slice = listeners.slice(told, told + AT_A_TIME);
    told += slice.length;
    if (told < listeners.length) setImmediate(turn);
    for (const listener of slice) listener();
  };
  turn();
}
