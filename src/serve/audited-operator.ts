/** An operator's word about a proxy, on a running server: on disk before the answer, and in the audit log. */

import {
  type OperatorAction,
  type OperatorAnswer,
  type OperatorRequest,
  operatorAnswer,
  operatorEvent,
} from "../controller/operator.ts";
import type { Clock, Log } from "../controller/ports.ts";
import type { RotationController } from "../controller/rotation-controller.ts";
import { identityName } from "../core/identity.ts";
import type { Ledger, ProxyRow } from "../core/ledger-state.ts";

const SAID: Readonly<Record<OperatorAction, string>> = {
  assume: "an operator answers for what this proxy trusts",
  unassume: "an operator no longer answers for what this proxy trusts",
  forget: "an operator says that this proxy is gone: it holds no gate until it returns",
  unforget: "an operator takes back that this proxy is gone",
  retry: "an operator has refused secrets sent again",
};

const NOTHING_TO_RETRY = "an operator asked for refused secrets to be sent again; this proxy refuses none";

export type OperateDeps = {
  readonly controller: RotationController;
  readonly clock: Clock;
  readonly log: Log;
  /** Has the proxy's streams look at their offers again. */
  readonly retry: (proxy: string) => void;
};

/** Throws what `operatorEvent` throws, and MR2002 or MR2004 when it can't be written down; then nothing is changed. */
export function liveOperator({ controller, clock, log, retry }: OperateDeps) {
  return async (request: OperatorRequest): Promise<OperatorAnswer> => {
    const { event, row } = operatorEvent(controller.ledger, request, clock.now());
    const answer = operatorAnswer(row);
    controller.observe(event);
    try {
      await controller.durable(event.proxy);
    } catch (error) {
      // Less trust in an operator's word is always the safe side.
      if (event.type === "assume" || event.type === "forget")
        controller.observe({ type: "withdraw", proxy: event.proxy, word: event.type });
      throw error;
    }
    const reason = request.reason.trim();
    const said = request.action === "retry" && answer.refused.length === 0 ? NOTHING_TO_RETRY : SAID[request.action];
    audit(log, row, { action: request.action, reason }, `${said}${reason === "" ? "" : `: ${reason}`}`);
    if (request.action === "retry") retry(event.proxy);
    return answer;
  };
}

/** What was said before this start, also while no server ran, stands in the log of each process that acts on it. */
export function auditStandingWords(ledger: Ledger, log: Log): void {
  for (const row of ledger.proxies.values()) {
    for (const [action, word] of [
      ["assume", row.assumed],
      ["forget", row.forgotten],
    ] as const) {
      if (word === undefined) continue;
      const since = new Date(word.at).toISOString();
      audit(log, row, { action, reason: word.reason, since }, `${SAID[action]}, since ${since}: ${word.reason}`);
    }
  }
}

function audit(log: Log, { identity }: ProxyRow, fields: object, message: string): void {
  log.warn({ component: "audit", proxy: identity.uuid, identity: identityName(identity), ...fields }, message);
}
