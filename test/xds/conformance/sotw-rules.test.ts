/** The rules of SotW one by one, over both of its services; test/support/transcript.ts says how to read them. */

import { test } from "node:test";
import { startGenericXds } from "../../support/generic-xds.ts";
import { play } from "../../support/transcript.ts";

const RULES: Readonly<Record<string, string>> = {
  "a version that we never issued is answered like any other (R13)": `
    set A=1
    C [A] v999-of-another-life n-
    S A 1 n1`,
  "an ACK names our nonce and the version sent with it, and has no error; a second one changes nothing (R14, R26)": `
    set A=1
    C [A] v- n-
    S A 1 n1
    C [A] v1 n1
    verdict acked A 1
    C [A] v1 n1`,
  "an error is a NACK, whatever version comes with it (R15)": `
    set A=1
    C [A] v- n-
    S A 1 n1
    C [A] v1 n1 error: no good
    verdict nacked A 1: no good`,
  "the current nonce with another version is neither ACK nor NACK, and nothing is sent again (R16)": `
    set A=2
    C [A] v- n-
    S A 2 n1
    C [A] v1 n1
    verdict unknown A 2`,
  "a stale verdict goes to the response that it names, and to no newer one (R17)": `
    set A=1
    C [A] v- n-
    S A 1 n1
    wait 31s
    verdict superseded A 1
    set A=2
    S A 2 n2
    C [A] v1 n1
    verdict acked A 1
    C [A] v2 n2
    verdict acked A 2`,
  "a nonce of another stream is ignored, names and all, but on the first request (R18)": `
    set A=1 B=1
    C [A] v- nof-another-life
    S A 1 n1
    C [A] v1 n1
    verdict acked A 1
    C [A,B] v1 nFOO
    C [A,B] v1 n1
    S B 1 n2`,
  "one response is on its way at a time; meanwhile only the newest content waits (R22)": `
    set A=1
    C [A] v- n-
    S A 1 n1
    set A=2
    set A=3
    C [A] v1 n1
    verdict acked A 1
    S A 3 n2`,
  "an answer that does not come: superseded after 30 s, and the newest goes out (R22)": `
    set A=1
    C [A] v- n-
    S A 1 n1
    set A=2
    wait 31s
    verdict superseded A 1
    S A 2 n2`,
  "a response carries one secret (R23)": `
    set A=1 B=1
    C [A,B] v- n-
    S A 1 n1
    C [A,B] v1 n1
    verdict acked A 1
    S B 1 n2`,
  "a NACK that changes the names is a subscription change too (R24)": `
    set A=1 B=1
    C [A] v- n-
    S A 1 n1
    C [A,B] v- n1 error: no good
    verdict nacked A 1: no good
    S B 1 n2`,
  "unchanged content is not sent (R28)": `
    set A=1
    C [A] v- n-
    S A 1 n1
    C [A] v1 n1
    verdict acked A 1
    set A=1`,
  "names are a set: order, repetition and empty ones do not matter (R30)": `
    set A=1 B=1
    C [A,B,A,] v- n-
    S A 1 n1
    C [B,A] v1 n1
    verdict acked A 1
    S B 1 n2
    C [B,B,A] v1 n2
    verdict acked B 1`,
  "a name that is asked for again is sent, at its version; the others are not (R31, R32)": `
    set A=1 B=1
    C [A,B] v- n-
    S A 1 n1
    C [A,B] v1 n1
    verdict acked A 1
    S B 1 n2
    C [B] v1 n2
    verdict acked B 1
    C [A,B] v1 n2
    S A 1 n3`,
  "a name that is no longer asked for gets no response, now or later (R32)": `
    set A=1 B=1
    C [A,B] v- n-
    S A 1 n1
    C [A,B] v1 n1
    verdict acked A 1
    S B 1 n2
    C [B] v1 n2
    verdict acked B 1
    set A=2 B=1`,
  "what waits for an answer is dropped when its name is no longer asked for (R33)": `
    set A=1 B=1
    C [A,B] v- n-
    S A 1 n1
    C [A] v1 n1
    verdict acked A 1`,
  "no names left: silence, nothing is pushed, and the stream goes on (R34)": `
    set A=1
    C [A] v- n-
    S A 1 n1
    C [] v1 n1
    verdict acked A 1
    set A=2
    C [A] v1 n1
    S A 2 n2`,
  "no names on the first request, or *: no secret, and no hidden subscription left (R35, R36)": `
    set A=1
    C [] v- n-
    C [*] v- n-
    C [*,A] v- n-
    S A 1 n1
    C [A] v1 n1
    verdict acked A 1
    set A=1 B=1`,
  "a name that does not exist yet is silence, holds nobody up, and is sent once it exists (R37)": `
    set A=1
    C [B,A] v- n-
    S A 1 n1
    C [B,A] v1 n1
    verdict acked A 1
    set A=1 B=1
    S B 1 n2`,
  "a secret that is deleted: nothing is sent; when it is back in other content, that is (R39)": `
    set A=1
    C [A] v- n-
    S A 1 n1
    C [A] v1 n1
    verdict acked A 1
    set B=1
    set A=2
    S A 2 n2`,
  "a reconnect that reports the current version is answered in full, and acknowledges nothing by that (R40, R41)": `
    set A=1
    C [A] v- n-
    S A 1 n1
    C [A] v1 n1
    verdict acked A 1
    stream
    C [A] v1 n-
    S A 1 n2`,
};

for (const service of ["secrets", "ads"] as const) {
  for (const [title, transcript] of Object.entries(RULES)) {
    test(`${service}: ${title}`, async (t) => {
      await play(await startGenericXds(t, { packing: "one" }), service, transcript);
    });
  }

  test(`${service}: two resources in one response: a refusal is a verdict on both (T12)`, async (t) => {
    await play(
      await startGenericXds(t, { packing: "changed" }),
      service,
      `
      set A=1 B=1
      C [A,B] v- n-
      S A,B - n1
      C [A,B] v- n1 error: no good
      verdict nacked A 1: no good
      verdict nacked B 1: no good
      set A=2 B=1
      S A - n2`,
    );
  });
}
