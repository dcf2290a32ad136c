/**
 * Golden transcripts: commands, ----, and what an operator would see. `MESHROOT_REWRITE=1` writes them anew; commit that
 * only if you understand what changed them.
 */

import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { parseTranscript, playTranscript, printTranscript } from "../support/scenario.ts";

const rewrite = process.env.MESHROOT_REWRITE === "1";

for (const file of readdirSync(import.meta.dirname).filter((name) => name.endsWith(".txt"))) {
  test(file, async () => {
    const path = `${import.meta.dirname}/${file}`;
    const text = readFileSync(path, "utf8");
    const played = printTranscript(await playTranscript(parseTranscript(text)));
    if (rewrite) writeFileSync(path, played);
    else assert.equal(played, text);
  });
}
