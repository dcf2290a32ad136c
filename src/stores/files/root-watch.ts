/** Watching roots that editors write: a file that is gone may be back in a moment, and its root is not yet said to be deleted. */

import { type RootListing, rootKey } from "../../core/roots/mesh-root.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Watch } from "../../ports/store.ts";
import { type FileWatch, type WatchOptions, watchFiles } from "./watch-files.ts";

/** `after`: timers, by the clock that those go by who act on a deletion. */
export type RootWatchOptions = WatchOptions & { readonly after?: Clock["after"] };

/** An editor may take a file away and put it back while saving; only what stays away this long was deleted. */
const DELETED_AFTER_MS = 5_000;

/**
 * As `watchFiles`. What a list lacks it lacks at once; it is `provisional` until nothing has gone missing for five seconds, and
 * then handed over once more. `read` is told how to see that a root is missing that was there.
 */
export async function watchRoots(
  directory: string,
  read: (lacksOne: (found: RootListing) => boolean) => Promise<RootListing>,
  onChange: (list: RootListing) => void,
  { after = realTimer, ...options }: RootWatchOptions,
): Promise<Watch> {
  let watch: FileWatch | undefined;
  let handedOver: RootListing | undefined;
  let isProvisional = true;
  let cancel: () => void = () => undefined;

  const lacksOne = ({ roots }: RootListing): boolean => {
    const found = new Set(roots.map(rootKey));
    return handedOver?.roots.some((root) => !found.has(rootKey(root))) === true;
  };
  const doubt = (): void => {
    isProvisional = true;
    cancel();
    cancel = after(DELETED_AFTER_MS, () => {
      isProvisional = false;
      watch?.look();
    });
  };
  const readMarked = async (): Promise<RootListing> => {
    const found = await read(lacksOne);
    // What was taken away before the first list is not seen to go.
    if (handedOver === undefined || lacksOne(found)) doubt();
    return isProvisional ? { ...found, provisional: true } : found;
  };

  watch = await watchFiles(
    directory,
    readMarked,
    (value) => {
      handedOver = value;
      onChange(value);
    },
    options,
  );
  const { close } = watch;
  return {
    async close() {
      cancel();
      await close();
      // A read that was under way may have begun to wait again.
      cancel();
    },
  };
}

function realTimer(ms: number, callback: () => void): () => void {
  const timer = setTimeout(callback, ms);
  return () => clearTimeout(timer);
}
