/** An operator's word about a proxy, on a running server: on disk before the answer, and in the audit log. */

import {
  type OperatorAction,
  type OperatorAnswer,
  type OperatorRequest,
  operatorAnswer,
  operatorEvent,
} from "../controller/operator.ts";
import type { RotationController } from "../controller/rotation-controller.ts";
import { answersFor } from "../core/evidence/assumptions.ts";
import type { AssumedFor, Ledger, ProxyRow } from "../core/evidence/ledger-state.ts";
import { identityName } from "../core/identity.ts";
import type { Clock } from "../ports/clock.ts";
import type { Audit } from "../ports/store.ts";

const SAID: Readonly<Record<OperatorAction, string>> = {
  assume: "an operator answers for this proxy, as long as this rotation lasts",
  unassume: "an operator no longer answers for this proxy",
  forget: "an operator says that this proxy is gone: it holds no gate until it returns",
  unforget: "an operator takes back that this proxy is gone",
  gone: "an operator says that this proxy is gone for good: it has left the ledger",
  retry: "an operator has refused secrets sent again",
};

const NOTHING_TO_RETRY = "an operator asked for refused secrets to be sent again; this proxy refuses none";

export type OperateDeps = {
  readonly controller: RotationController;
  readonly clock: Clock;
  readonly audit: Audit;
  /** Has the proxy's streams look at their offers again. */
  readonly retry: (proxy: string) => void;
};

/** Throws what `operatorEvent` throws, and MR2002 or MR2004 when it can't be written down; then nothing is changed. */
export function liveOperator({ controller, clock, audit, retry }: OperateDeps) {
  return async (request: OperatorRequest): Promise<OperatorAnswer> => {
    const { event, row } = operatorEvent(controller.ledger, request, clock.now(), controller);
    const answer = operatorAnswer(row, event);
    controller.observe(event);
    try {
      await controller.durable(event.proxy);
    } catch (error) {
      // Less trust in an operator's word is always the safe side.
      if (event.type === "assume" || event.type === "forget")
        controller.observe({ type: "withdraw", proxy: event.proxy, word: event.type });
      if (event.type === "retire") controller.observe({ type: "restore", proxy: event.proxy, row });
      throw error;
    }
    const reason = request.reason.trim();
    const said = request.action === "retry" && answer.refused.length === 0 ? NOTHING_TO_RETRY : SAID[request.action];
    const fields = { action: request.action, reason, ...(answer.for.length === 0 ? {} : { for: answer.for }) };
    write(audit, row, fields, `${said}${listOf(answer.for)}${reason === "" ? "" : `: ${reason}`}`);
    if (request.action === "retry") retry(event.proxy);
    return answer;
  };
}

/** What was said before this start, also while no server ran, stands in the log of each process that acts on it. */
export function auditStandingWords(ledger: Ledger, audit: Audit): void {
  for (const row of ledger.proxies.values()) {
    for (const [action, word] of [
      ["assume", row.assumed],
      ["forget", row.forgotten],
    ] as const) {
      if (word === undefined) continue;
      const since = new Date(word.at).toISOString();
      const some = action === "assume" ? answersFor(word) : [];
      const fields = { action, reason: word.reason, since, ...(some.length === 0 ? {} : { for: some }) };
      write(audit, row, fields, `${SAID[action]}${listOf(some)}, since ${since}: ${word.reason}`);
    }
  }
}

function listOf(some: readonly AssumedFor[]): string {
  return some.length === 0 ? "" : ` (${some.join(", ")})`;
}

function write(audit: Audit, { identity }: ProxyRow, fields: object, message: string): void {
  audit.write({ proxy: identity.uuid, identity: identityName(identity), ...fields }, message);
}
