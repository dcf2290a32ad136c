/** How much is fuzzed, and from which seed: MESHROOT_FUZZ_MESSAGES and MESHROOT_FUZZ_SEED. */

const { MESHROOT_FUZZ_MESSAGES, MESHROOT_FUZZ_SEED, CI } = process.env;

/** Messages sent to servers in one run of the fuzzing tests. */
export const MESSAGES = Number(MESHROOT_FUZZ_MESSAGES ?? (CI === "true" ? 200_000 : 4_000));

export const SEED = Number(MESHROOT_FUZZ_SEED ?? Date.now() & 0x7fffffff);

/** What to type to see a failure again. */
export const AGAIN = `MESHROOT_FUZZ_SEED=${SEED} MESHROOT_FUZZ_MESSAGES=${MESSAGES}`;
