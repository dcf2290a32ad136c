import type { Command } from "commander";
import type { OperatorAction, OperatorAnswer } from "../controller/operator.ts";
import { MeshrootError } from "../core/errors.ts";
import { ASSUMED_FOR, type AssumedFor } from "../core/evidence/ledger-state.ts";
import type { CliContext } from "./context.ts";
import { printWarnings } from "./print-holds.ts";
import { openMesh, type StoreFlags, withStore } from "./root-common.ts";

type Flags = StoreFlags & {
  readonly reason?: string;
  readonly undo?: boolean;
  readonly gone?: boolean;
  readonly for?: string;
};

const NAMES =
  "\nNAME is the proxy's uuid, at least four characters of its beginning, or its identity (sa.ns) where one proxy has it.";
const FORGET_WARNING =
  "it is your word that the process is gone: if it is alive after all, requests to and from it can fail until it has answered again";
const GONE_WARNING = `${FORGET_WARNING}; what it may run is not known any more, and nothing takes that back`;
/** What goes wrong where the word was wrong. */
const ASSUME_WARNINGS: Readonly<Record<AssumedFor, string>> = {
  "mesh-trust":
    "it is your word that the proxy trusts every root in force: if it does not, requests to and from it fail once the signer moves",
  "xds-trust":
    "it is your word that the proxy trusts every root in force on its xDS connection: if it does not, it can't reach meshroot once our certificate moves",
  "xds-credentials":
    "it is your word that the proxy's agent does not come again with what it used last: if it does, it is refused",
};
const ASSUME_HELP = `
WHAT is one of these, or several with commas between them. Without --for it is what the first hold that waits for the proxy
asks for, and mesh-trust where none does. The word is about the roots of now, and ends with this rotation.
  mesh-trust       its Envoy trusts the roots in force, on connections of the mesh
  xds-trust        the same, on its connection to meshroot
  xds-credentials  its agent, which is away, does not come again with the credential that it used last`;

/** `meshroot proxy forget NAME --reason TEXT [--gone | --undo]`. */
export function addProxyForget(parent: Command, context: CliContext): void {
  withStore(
    parent.command("forget <name>").description("say that an absent proxy is gone: it holds no gate until it returns"),
  )
    .option("--reason <text>", "why; kept in the audit log and shown by `proxy status`")
    .option("--gone", "it never comes back: all that is known of it leaves the ledger at once")
    .option("--undo", "take it back; not after --gone")
    .addHelpText("after", `${NAMES}\nTake care: ${FORGET_WARNING}. --undo brings nothing back that left with --gone.`)
    .action((name: string, flags: Flags) => {
      if (flags.gone === true && flags.undo === true) throw noWayBack();
      if (flags.gone === true) return say(context, "gone", name, flags, GONE_WARNING);
      const undo = flags.undo === true;
      return say(context, undo ? "unforget" : "forget", name, flags, undo ? undefined : FORGET_WARNING);
    });
}

function noWayBack(): MeshrootError {
  return new MeshrootError(
    "MR5001",
    "--undo can't take back --gone: what was known of the proxy has left the ledger",
    "If it lives after all, let it connect: it is given its bundles first, and counts again from then on.",
  );
}

/** `meshroot proxy assume NAME --reason TEXT [--undo]`. */
export function addProxyAssume(parent: Command, context: CliContext): void {
  withStore(
    parent
      .command("assume <name>")
      .description("answer for a proxy, for this rotation, where meshroot can't prove what it waits for"),
  )
    .option("--reason <text>", "why; kept in the audit log and shown by `proxy status`")
    .option("--for <what>", `what you answer for: ${ASSUMED_FOR.join(", ")}`)
    .option("--undo", "take it back, all of it")
    .addHelpText("after", `${NAMES}\n${ASSUME_HELP}\nTake care: ${ASSUME_WARNINGS["mesh-trust"]}.`)
    .action((name: string, flags: Flags) => {
      const undo = flags.undo === true;
      return say(context, undo ? "unassume" : "assume", name, flags, undo ? undefined : ASSUME_WARNINGS["mesh-trust"]);
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
  const some = assumedFor(flags.for);
  const { mesh, dataDir } = openMesh(context, flags);
  const request = { action, name, reason, ...(some === undefined ? {} : { for: some }) };
  const { answer: done, live } = await mesh.operate(request);
  context.stdout(`proxy/${done.proxy} ${RESULT[action](done)}\n`);
  const warnings = action === "assume" ? done.for.map((what) => ASSUME_WARNINGS[what]) : [warning ?? []].flat();
  for (const one of warnings) context.stderr(`warning: ${one}\n`);
  printWarnings(context, await mesh.status().catch(() => undefined));
  if (!live) context.stderr(`No server runs on ${dataDir}: it is written down there, and holds when one starts.\n`);
}

/** Throws MR5001. */
function assumedFor(text: string | undefined): AssumedFor[] | undefined {
  const words = text?.split(",").map((word) => word.trim());
  const wrong = words?.find((word) => !ASSUMED_FOR.some((one) => one === word));
  if (wrong === undefined) return words as AssumedFor[] | undefined;
  throw new MeshrootError(
    "MR5001",
    `--for ${JSON.stringify(wrong)} is nothing that can be answered for`,
    `Choose from ${ASSUMED_FOR.join(", ")}; several with commas between them.`,
  );
}

const VERB: Readonly<Record<OperatorAction, string>> = {
  assume: "assume",
  unassume: "assume --undo",
  forget: "forget",
  unforget: "forget --undo",
  gone: "forget --gone",
  retry: "retry",
};

const RESULT: Readonly<Record<OperatorAction, (answer: OperatorAnswer) => string>> = {
  assume: (answer) => `(${answer.identity}): assumed (${answer.for.join(", ")}) until this rotation is over`,
  unassume: ({ identity }) => `(${identity}): no longer assumed`,
  forget: ({ identity }) => `(${identity}): forgotten until it returns`,
  gone: ({ identity }) => `(${identity}): gone for good, it has left the ledger`,
  unforget: ({ identity }) => `(${identity}): no longer forgotten`,
  retry: ({ identity, refused, connected }) => {
    if (refused.length === 0) return `(${identity}): nothing to send again, it refuses nothing`;
    return `(${identity}): ${refused.join(", ")} ${connected ? "sent again" : "will be sent when it returns"}`;
  },
};
