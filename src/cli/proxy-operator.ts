import type { Command } from "commander";
import type { OperatorAction, OperatorAnswer } from "../controller/operator.ts";
import { MeshrootError } from "../core/errors.ts";
import { requestOperation } from "./admin-client.ts";
import type { CliContext } from "./context.ts";
import { openStore, type StoreFlags, withStore } from "./root-common.ts";

type Flags = StoreFlags & { readonly reason?: string; readonly undo?: boolean };

const NAMES =
  "\nNAME is the proxy's uuid, at least four characters of its beginning, or its identity (sa.ns) where one proxy has it.";
const FORGET_WARNING =
  "it is your word that the process is gone: if it is alive after all, requests to and from it can fail until it has answered again";
const ASSUME_WARNING =
  "it is your word that the proxy trusts every root in force: if it does not, requests to and from it fail once the signer moves";

/** `meshroot proxy forget NAME --reason TEXT [--undo]`. */
export function addProxyForget(parent: Command, context: CliContext): void {
  withStore(
    parent.command("forget <name>").description("say that an absent proxy is gone: it holds no gate until it returns"),
  )
    .option("--reason <text>", "why; kept in the audit log and shown by `proxy status`")
    .option("--undo", "take it back")
    .addHelpText("after", `${NAMES}\nTake care: ${FORGET_WARNING}.`)
    .action((name: string, flags: Flags) => {
      const undo = flags.undo === true;
      return say(context, undo ? "unforget" : "forget", name, flags, undo ? undefined : FORGET_WARNING);
    });
}

/** `meshroot proxy assume NAME --reason TEXT [--undo]`. */
export function addProxyAssume(parent: Command, context: CliContext): void {
  withStore(
    parent
      .command("assume <name>")
      .description("answer for what a proxy trusts, where meshroot can't prove it (it gets its roots from elsewhere)"),
  )
    .option("--reason <text>", "why; kept in the audit log and shown by `proxy status`")
    .option("--undo", "take it back")
    .addHelpText("after", `${NAMES}\nTake care: ${ASSUME_WARNING}.`)
    .action((name: string, flags: Flags) => {
      const undo = flags.undo === true;
      return say(context, undo ? "unassume" : "assume", name, flags, undo ? undefined : ASSUME_WARNING);
    });
}

/** `meshroot proxy retry NAME`. */
export function addProxyRetry(parent: Command, context: CliContext): void {
  withStore(
    parent.command("retry <name>").description("send a proxy the secrets again that it refused, without waiting"),
  )
    .option("--reason <text>", "why; kept in the audit log")
    .addHelpText("after", NAMES)
    .action((name: string, flags: Flags) => say(context, "retry", name, flags, undefined));
}

async function say(
  context: CliContext,
  action: OperatorAction,
  name: string,
  flags: Flags,
  warning: string | undefined,
): Promise<void> {
  const { reason = "" } = flags;
  if (action !== "retry" && reason.trim() === "") {
    const take = warning === undefined ? "" : ` Take care: ${warning}.`;
    throw new MeshrootError("MR5001", `${VERB[action]} needs --reason`, `Say why with --reason TEXT.${take}`);
  }
  const { dataDir } = openStore(context, flags);
  const request = { action, name, reason };
  const answer = await requestOperation(dataDir, request);
  const done = answer ?? (await (await import("../serve/offline.ts")).offlineOperate(dataDir, request));
  context.stdout(`proxy/${done.proxy} ${RESULT[action](done)}\n`);
  if (warning !== undefined) context.stderr(`warning: ${warning}\n`);
  if (answer === undefined)
    context.stderr(`No server runs on ${dataDir}: it is written down there, and holds when one starts.\n`);
}

const VERB: Readonly<Record<OperatorAction, string>> = {
  assume: "assume",
  unassume: "assume --undo",
  forget: "forget",
  unforget: "forget --undo",
  retry: "retry",
};

const RESULT: Readonly<Record<OperatorAction, (answer: OperatorAnswer) => string>> = {
  assume: ({ identity }) => `(${identity}): assumed to trust every root in force`,
  unassume: ({ identity }) => `(${identity}): no longer assumed`,
  forget: ({ identity }) => `(${identity}): forgotten until it returns`,
  unforget: ({ identity }) => `(${identity}): no longer forgotten`,
  retry: ({ identity, refused, connected }) => {
    if (refused.length === 0) return `(${identity}): nothing to send again, it refuses nothing`;
    return `(${identity}): ${refused.join(", ")} ${connected ? "sent again" : "will be sent when it returns"}`;
  },
};
