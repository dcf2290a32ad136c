/** Preloaded into a process (`--import`): it then sees the source with the defects of MESHROOT_SABOTAGE in it. */

import { registerHooks } from "node:module";
import type { Defect } from "./sabotages.ts";

const ROOT = new URL("../../../", import.meta.url).href;
const defects = JSON.parse(process.env.MESHROOT_SABOTAGE ?? "[]") as readonly Defect[];

registerHooks({
  load(url, context, next) {
    const loaded = next(url, context);
    const mine = defects.filter(({ file }) => url === ROOT + file);
    if (mine.length === 0) return loaded;
    let source = String(loaded.source);
    for (const { from, to } of mine) source = source.replace(from, () => to);
    return { ...loaded, source };
  },
});
