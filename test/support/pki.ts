/** Roots, leaves and a clock for tests of pki/ and the providers, at a fixed moment. */

import { generateKeyPair, type KeyAlgorithm } from "../../src/pki/keys.ts";
import type { LocalAuthority } from "../../src/pki/local-authority.ts";
import { localAuthority } from "../../src/pki/local-authority.ts";
import { serviceLeaf } from "../../src/pki/profiles.ts";
import { createRootCa, type RootCaOptions } from "../../src/pki/root-ca.ts";
import type { Clock } from "../../src/ports/clock.ts";
import type { KeyPair } from "../../src/ports/provider.ts";

export const NOW = Date.parse("2026-06-01T12:00:00Z");
export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;
export const BOOKBUYER = { serviceAccount: "bookbuyer", namespace: "bookstore" };
export const FORM = { trustDomain: "cluster.local", spiffe: true };

export type SettableClock = Clock & { set(ms: number): void };

/** Stands still at `now` until it is set; its timers never fire. */
export function settableClock(now = NOW): SettableClock {
  let current = now;
  return {
    now: () => current,
    after: () => () => undefined,
    set: (ms) => {
      current = ms;
    },
  };
}

export type TestCa = {
  readonly authority: LocalAuthority;
  readonly certificatePem: string;
  readonly keyPair: KeyPair;
  readonly clock: SettableClock;
};

/** A root of a year, P-256 unless said otherwise; every one has the same subject. */
export async function testCa(options: Partial<RootCaOptions> = {}): Promise<TestCa> {
  const clock = settableClock(options.now);
  const { certificatePem, keyPair } = await createRootCa({
    organization: "Test",
    commonName: "root",
    algorithm: "ec-p256",
    validityMs: 365 * DAY_MS,
    now: NOW,
    ...options,
  });
  return {
    authority: localAuthority({ certificatePem, privateKey: keyPair.privateKey, clock }),
    certificatePem,
    keyPair,
    clock,
  };
}

/** A day's leaf of the bookbuyer and its key. */
export async function testLeaf(authority: LocalAuthority, algorithm: KeyAlgorithm = "ec-p256", now = NOW) {
  const keyPair = await generateKeyPair(algorithm);
  const issued = await authority.issue(serviceLeaf(BOOKBUYER, FORM, { now, validityMs: DAY_MS }, keyPair.publicKey));
  return { ...issued, keyPair };
}
