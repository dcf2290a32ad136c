/**
 * Conversations over a real stream, as the protocol's own documentation writes them. One line is one thing that happens, in
 * order, and nothing else may happen: a response that no line expects fails the next `S`, or the end.
 *
 *   set A=1 B=1                what there is; replaces what there was
 *   C [A,B] v- n- error: text  a SotW request: names, version_info, response_nonce (`-`: empty), error_detail
 *   C +A,B -C {A=1} n1         a delta request: subscribe, unsubscribe, initial_resource_versions, response_nonce
 *   100x C …                   the same request many times
 *   S A 1 n1                   the next response: its names, its version_info (delta: `-`), a label for its nonce
 *   S -A - n1                  delta: A in removed_resources
 *   verdict acked A 1          what the source is told next
 *   wait 31s                   the server's clock moves on
 *   stream                     a new stream, on the same connection; the old one is cancelled
 */

import assert from "node:assert/strict";
import { SECRET_TYPE_URL } from "../../src/secrets/secret-codec.ts";
import { contents, type GenericXds } from "./generic-xds.ts";
import { until } from "./server.ts";
import type { DeltaAsk, Response, SotwAsk } from "./xds-client.ts";

/** Method of `XdsTestClient` that opens the stream. */
export type Service = "secrets" | "ads" | "deltaSecrets" | "deltaAds";

/** Asked for at the end: it comes next, so nothing else was on its way. Must not be in the transcript. */
const LAST = "Z-last";

export async function play(xds: GenericXds, service: Service, transcript: string): Promise<void> {
  const nonces = new Map<string, string>([["n-", ""]]);
  let resources: Record<string, string> = {};
  let stream = open(xds, service);
  let verdicts = 0;
  let answered = true;
  let names: readonly string[] = [];
  const put = (versions: Record<string, string>) => {
    resources = versions;
    xds.set({ ...versions, [LAST]: "1" });
  };
  const say = async (ask: SotwAsk & DeltaAsk) => {
    const before = requests(xds);
    stream.request(ask);
    await until("the server has read the request", () => requests(xds) > before);
  };
  const nonceOf = (label: string | undefined) => nonces.get(label ?? "n-") ?? (label ?? "n-").slice(1);
  put({});
  const lines = transcript.split("\n").map((line) => line.trim());
  for (const line of lines.filter((text) => text !== "")) {
    try {
      const [, times = "1", text = ""] = /^(?:(\d+)x )?(.*)$/.exec(line) ?? [];
      const [word = "", ...rest] = text.split(" ");
      if (word === "set") put(versionsOf(rest));
      else if (word === "wait") xds.shiftClock(Number.parseInt(rest[0] ?? "", 10) * 1_000);
      else if (word === "stream") {
        await stream.cancel();
        stream = open(xds, service);
        answered = true;
        names = [];
      } else if (word === "verdict") {
        await until("a verdict", () => xds.recorded.verdicts.length > verdicts);
        assert.equal(xds.recorded.verdicts[verdicts], rest.join(" "));
        verdicts += 1;
      } else if (word === "C") {
        const ask = askOf(text.slice(2), nonceOf);
        if (ask.names !== undefined) names = ask.names;
        for (let time = 0; time < Number(times); time++) await say(ask);
        answered ||= ask.nonce !== "";
      } else if (word === "S") {
        const [said = "", version = "", label = ""] = rest;
        const response: Response = await stream.next();
        assert.equal(form(response), said);
        assert.equal(response.typeUrl, SECRET_TYPE_URL);
        if (version !== "-") assert.equal(response.version, version);
        assert.ok(response.nonce !== "" && ![...nonces.values()].includes(response.nonce), "a new nonce (R11)");
        nonces.set(label, response.nonce);
        answered = false;
      } else throw new Error("no such word");
    } catch (error) {
      throw new Error(`at "${line}": ${(error as Error).message}`, { cause: error });
    }
  }
  assert.deepEqual(xds.recorded.verdicts.slice(verdicts), [], "no verdict but those");
  const { received } = stream;
  // What is unanswered keeps everything else back (R22).
  if (!answered) await say(isDelta(service) ? { nonce: received.at(-1)?.nonce ?? "" } : answerOf(received, names));
  xds.set({ ...resources, [LAST]: "2" });
  await say(isDelta(service) ? { subscribe: [LAST] } : { names: [...names, LAST], nonce: "", version: "" });
  assert.equal(form(await stream.next()), LAST, "nothing else was on its way at the end");
  await stream.cancel();
  await until("the source is left", () => xds.recorded.closed === xds.recorded.opened);
}

function answerOf(received: readonly Response[], names: readonly string[]): SotwAsk {
  const { nonce = "", version = "" } = received.at(-1) ?? {};
  return { names, nonce, version };
}

function isDelta(service: Service): boolean {
  return service.startsWith("delta");
}

/** Both dialects take an ask of either; what is not their own is ignored. */
function open(xds: GenericXds, service: Service) {
  return xds.client[service]() as ReturnType<GenericXds["client"]["secrets"]>;
}

function requests(xds: GenericXds): number {
  return xds.events.filter(({ type }) => type === "request").length;
}

function form(response: Response): string {
  const secrets = response.secrets.map(({ name }) => name);
  return [...secrets, ...response.removed.map((name) => `-${name}`)].sort().join(",") || contents(response);
}

function versionsOf(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(pairs.map((pair) => pair.split("=") as [string, string]));
}

function askOf(text: string, nonceOf: (label: string | undefined) => string): SotwAsk & DeltaAsk {
  const [said = "", error] = text.split(/ error: /);
  const ask: { -readonly [Key in keyof (SotwAsk & DeltaAsk)]?: (SotwAsk & DeltaAsk)[Key] } = {};
  for (const word of said.split(" ")) {
    const rest = word.slice(1);
    if (word.startsWith("[")) ask.names = split(word.slice(1, -1));
    else if (word.startsWith("v")) ask.version = rest === "-" ? "" : rest;
    else if (word.startsWith("n")) ask.nonce = nonceOf(word);
    else if (word.startsWith("+")) ask.subscribe = split(rest);
    else if (word.startsWith("-")) ask.unsubscribe = split(rest);
    else if (word.startsWith("{")) ask.initialVersions = versionsOf(split(word.slice(1, -1)));
    else throw new Error(`can't read ${word}`);
  }
  if (error !== undefined) ask.error = { code: 13, message: error };
  return ask as SotwAsk & DeltaAsk;
}

function split(list: string): string[] {
  return list === "" ? [] : list.split(",");
}
