/**
 * `npm run explore [MINUTES] [KIND...]`: runs the random tests from seeds that nobody has looked at, over and over. Prints each
 * seed; one that fails is to be added to test/support/seed.ts once its defect is understood. Exits with 1 when one failed.
 */

import { spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { globSync, readFileSync } from "node:fs";
import { text } from "node:stream/consumers";

process.chdir(new URL("..", import.meta.url).pathname);

const properties = () =>
  globSync("test/**/*.test.ts").filter((file) => readFileSync(file, "utf8").includes("support/property.ts"));

const KINDS = {
  histories: () => ["test/model/histories.test.ts"],
  messages: () => ["test/load/fuzz-server.test.ts", "test/load/fuzz-operator.test.ts"],
  subscriptions: () => ["test/load/fuzz-subscription.test.ts"],
  properties,
  crashes: () => ["test/crash/crash.test.ts"],
} as const;

const [said = "10", ...asked] = process.argv.slice(2);
const minutes = Number(said);
const kinds = (asked.length > 0 ? asked : Object.keys(KINDS)) as (keyof typeof KINDS)[];
if (!(minutes > 0) || kinds.some((kind) => !(kind in KINDS))) {
  console.error(`usage: npm run explore [MINUTES] [KIND...]   (kinds: ${Object.keys(KINDS).join(", ")})`);
  process.exit(2);
}

const until = Date.now() + minutes * 60_000;
let failed = 0;
for (let round = 0; Date.now() < until; round++) {
  const kind = kinds[round % kinds.length] ?? "histories";
  const seed = randomInt(2 ** 31 - 1000);
  const files = KINDS[kind]();
  const startedAt = performance.now();
  const child = spawn(process.execPath, ["--test", ...files], {
    env: { ...process.env, MESHROOT_SEED: `${seed}` },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [output, [code]] = await Promise.all([text(child.stdout), once(child, "exit")]);
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(0);
  console.log(`${code === 0 ? "held" : "FAILED"}  ${kind}  seed ${seed}  ${seconds} s`);
  if (code === 0) continue;
  failed += 1;
  console.log(`${output}\nto see it again: MESHROOT_SEED=${seed} npm test -- ${files.join(" ")}\n`);
}
console.log(failed === 0 ? "nothing found" : `${failed} seeds failed`);
process.exitCode = failed === 0 ? 0 : 1;
