/** A throw-away directory for a test, removed when the test ends. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";

export async function temporaryDirectory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "meshroot-test-"));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}
