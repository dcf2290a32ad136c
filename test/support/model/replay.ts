/** `node test/support/model/replay.ts HISTORY.json` (or `-` for stdin): runs one history and says what happens. */

import { readFileSync } from "node:fs";
import { type History, runHistory } from "./history.ts";

const file = process.argv[2] ?? "-";
const history = JSON.parse(readFileSync(file === "-" ? 0 : file, "utf8")) as History;
const world = await runHistory(history, (line) => console.log(line));
console.log(`no breach; ${world.memory.handshakes} handshakes checked`);
