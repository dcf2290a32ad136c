/** What commands print of holds: not more proxies than people read, and how many there are besides. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { CliContext } from "../../src/cli/context.ts";
import { printHolds } from "../../src/cli/print-holds.ts";
import type { MeshStatus } from "../../src/controller/status.ts";
import type { Hold } from "../../src/core/rotation/holds.ts";

function printed(proxies: number): string[] {
  const hold: Hold = {
    ...{ gate: "signer", wants: "sign with b", root: "b", reason: "WaitingForTrust", message: "m" },
    waitingFor: Array.from({ length: proxies }, (_, index) => ({
      ...{ proxy: `p-${index}`, identity: "cart.shop", detail: "says why", connected: true, lastContactAt: index },
    })),
  };
  const texts: string[] = [];
  const context = { stderr: (text: string) => void texts.push(text) } as unknown as CliContext;
  printHolds(context, { holds: [hold], warnings: [], authorityProblems: [] } as unknown as MeshStatus);
  return texts
    .join("")
    .split("\n")
    .filter((line) => /^ {2}(cart\.shop|and )/.test(line));
}

test("up to ten proxies of a hold are all listed", () => {
  assert.deepEqual([printed(1).length, printed(10).length], [1, 10]);
  assert.doesNotMatch(printed(10).join("\n"), / more;/);
});

test("of more than ten proxies the rest is a number", () => {
  for (const [proxies, more] of [
    [11, 1],
    [25, 15],
  ] as const) {
    const lines = printed(proxies);
    assert.equal(lines.length, 11);
    assert.equal(lines[10], `  and ${more} more; \`meshroot proxy status -o json\` lists all`);
  }
});
