/** Real Envoys for tests. */

import type { TestContext } from "node:test";
import { MeshrootError } from "../../src/core/errors.ts";
import { type EnvoyBinary, findEnvoy } from "../../src/envoy/binary.ts";
import { type EnvoyProcess, type StartEnvoyOptions, startEnvoy } from "../../src/envoy/process.ts";

/**
 * Undefined, and the test skipped with the reason, when there is no Envoy here; in CI (`CI=true`) it is installed, and a
 * failure to do so fails the test: a silent skip would hide a broken installation.
 */
export async function envoyOrSkip(t: TestContext, version?: string): Promise<EnvoyBinary | undefined> {
  const inCi = process.env.CI === "true";
  try {
    return await findEnvoy({ install: inCi, ...(version === undefined ? {} : { version }) });
  } catch (error) {
    if (inCi || !(error instanceof MeshrootError)) throw error;
    t.skip(`${error.message}\n${error.hint}`);
    return undefined;
  }
}

/** `startEnvoy`, ended with the test. */
export async function runEnvoy(t: TestContext, options: StartEnvoyOptions): Promise<EnvoyProcess> {
  const envoy = await startEnvoy(options);
  t.after(() => envoy.stop());
  return envoy;
}

/** Asks again until `condition` holds; fails with `what` after a minute, which is far more than any machine needs. */
export async function eventually(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`never happened: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
