/** The golden traces of SotW, over both of its services; test/support/transcript.ts says how to read them. */

import { test } from "node:test";
import { startGenericXds } from "../../support/generic-xds.ts";
import { play } from "../../support/transcript.ts";

const TRACES: Readonly<Record<string, string>> = {
  "an invalid addition at the same version, then another name without the error (T1, R15, E4)": `
    set A=1 B=1
    C [A] v- n-
    S A 1 n1
    C [A] v1 n1
    verdict acked A 1
    C [A,B] v1 n1
    S B 1 n2
    C [A,B] v1 n2 error: no good
    verdict nacked B 1: no good
    set A=1 B=1 C=1
    C [A,B,C] v1 n2
    S C 1 n3
    C [A,B,C] v1 n3
    verdict acked C 1`,
  "an update crosses a new name: the stale request is not answered, and its names are ignored (T2, R17)": `
    set A=1 B=1
    C [A] v- n-
    S A 1 n1
    C [A] v1 n1
    verdict acked A 1
    set A=2 B=1
    S A 2 n2
    C [A,B] v1 n1
    C [A,B] v2 n2
    verdict acked A 2
    S B 1 n3`,
  "a burst before the first response: each name once, one at a time (T3, R19, R22)": `
    set A=1 B=1 C=1
    C [A] v- n-
    C [A,B] v- n-
    C [A,B,C] v- n-
    S A 1 n1
    C [A,B,C] v1 n1
    verdict acked A 1
    S B 1 n2
    C [A,B,C] v1 n2
    verdict acked B 1
    S C 1 n3`,
  "the unified mux after a first NACK: an empty nonce again, and only the new name is sent (T4, R19, R20)": `
    set A=1 B=1
    C [A] v- n-
    S A 1 n1
    C [A] v- n1 error: no good
    verdict nacked A 1: no good
    C [A,B] v- n-
    S B 1 n2`,
  "what would be coalesced is never on its way together (T5, R22)": `
    set A=1 B=2
    C [A,B] v- n-
    S A 1 n1
    C [A,B] v1 n1
    verdict acked A 1
    S B 2 n2
    C [A,B] v2 n2
    verdict acked B 2`,
  "a storm of NACKs: no response, one verdict; the next content goes out once (T8, R20)": `
    set A=1
    C [A] v- n-
    S A 1 n1
    100x C [A] v- n1 error: no good
    verdict nacked A 1: no good
    set A=2
    S A 2 n2
    C [A] v2 n2
    verdict acked A 2`,
  "the content that was refused, set again: nothing is sent (T9, R20, R28)": `
    set A=1
    C [A] v- n-
    S A 1 n1
    C [A] v- n1 error: no good
    verdict nacked A 1: no good
    set A=1`,
  "an error left over from another stream: answered, and nothing counts as refused (T11, R25)": `
    set A=1
    C [A] v- n- error: x
    S A 1 n1
    C [A] v1 n1
    verdict acked A 1`,
};

for (const service of ["secrets", "ads"] as const) {
  for (const [title, transcript] of Object.entries(TRACES)) {
    test(`${service}: ${title}`, async (t) => {
      await play(await startGenericXds(t, { packing: "one" }), service, transcript);
    });
  }
}
