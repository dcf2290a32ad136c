/**
 * Deliberate defects that the histories must notice: each breaks one rule of evidence.md in the source text. A defect whose
 * text is no longer found fails loudly: then the code has moved, and this list has to follow.
 */

/** In `file`, `from`, which stands there once, becomes `to`. */
export type Defect = { readonly file: string; readonly from: string; readonly to: string };

export type Sabotage = Defect & {
  readonly name: string;
  readonly rule: string;
  /** A test file that has to notice, where the histories can't. */
  readonly caughtBy?: string;
  /** Further guards of the same rule, which have to go too. */
  readonly also?: readonly Defect[];
};

const LEDGER = "src/core/evidence/ledger.ts";
const QUERIES = "src/core/evidence/ledger-queries.ts";
const GATES = "src/core/rotation/gates.ts";

export const SABOTAGES: readonly Sabotage[] = [
  {
    name: "trust is believed from the last ACK alone",
    rule: "E8",
    file: QUERIES,
    from: 'return meshSlots(row, "bundle").every((slot) => mayRun(slot).every((content) => holds(content, root)));',
    to: 'return meshSlots(row, "bundle").every((slot) => mayRun(slot).filter((one) => one.version === slot.acked?.version).every((content) => holds(content, root)));',
  },
  {
    name: "what is presented is read from the last ACK alone",
    rule: "E9",
    file: QUERIES,
    from: "flatMap((slot) => mayRun(slot).filter(isLeaf));",
    to: "flatMap((slot) => mayRun(slot).filter(isLeaf).filter((one) => one.version === slot.acked?.version));",
  },
  { name: "the signer moves without waiting", rule: "E10", file: GATES, from: "  everyProxyTrusts,\n", to: "" },
  { name: "a root is dropped at once", rule: "E10", file: GATES, from: "  noProxyPresents,\n", to: "" },
  {
    name: "a proxy that is away does not count",
    rule: "E13",
    file: QUERIES,
    from: "if (row.forgotten !== undefined) return false;",
    to: "return false;",
  },
  {
    name: "a disconnect clears what the proxy may run",
    rule: "E6",
    file: LEDGER,
    from: "  row.session.streams.delete(event.stream);\n",
    to: "  row.session.streams.delete(event.stream);\n  row.slots.clear();\n",
  },
  {
    name: "the unanswered sends of an ended stream are dropped",
    rule: "E6",
    file: LEDGER,
    from: "if (line.stream === event.stream) line.ended = { at: event.at, seq: ledger.seq };",
    to: "if (line.stream === event.stream) { line.ended = { at: event.at, seq: ledger.seq }; line.entries.splice(1); }",
  },
  {
    name: "plain bytes always",
    rule: "E3",
    file: "src/xds/subscription-sends.ts",
    from: '  if (again) return "unique";\n',
    to: '  if (again || !again) return "plain";\n',
  },
  {
    name: "plain bytes after a refusal on this stream",
    rule: "E3",
    file: "src/xds/subscription-sends.ts",
    from: 'verdict === "acked" ? "plain"',
    to: 'verdict !== undefined ? "plain"',
  },
  {
    name: "an ACK drops what was sent after it",
    rule: "E6",
    file: "src/core/evidence/ledger-deliveries.ts",
    from: "line.entries.filter((candidate) => candidate.seq >= event.seq);",
    to: "line.entries.filter((candidate) => candidate.seq === event.seq);",
  },
  {
    name: "a NACK removes the content",
    rule: "E6",
    file: "src/core/evidence/ledger-deliveries.ts",
    from: "  const { slot, line, entry } = found;\n  const { content } = entry;\n",
    to: "  const { slot, line, entry } = found;\n  line.entries = line.entries.filter((one) => one !== entry);\n  const { content } = entry;\n",
  },
  {
    name: "no settling",
    rule: "E11",
    file: "src/core/rotation/rotation-plan.ts",
    from: "const until = since + input.settings.settleMs;",
    to: "const until = since;",
  },
  {
    name: "no recovery after a restart",
    rule: "E14",
    file: GATES,
    from: "if (input.recoveringSince === undefined) return undefined;",
    to: "if (input.recoveringSince !== Infinity) return undefined;",
  },
  {
    name: "the signer swaps while two are active",
    rule: "the incumbent keeps signing",
    file: "src/core/roots/trust.ts",
    from: "desired.signers.find((root) => root.id === incumbent) ?? desired.signers[0];",
    to: "desired.signers.findLast((root) => root.id !== incumbent) ?? desired.signers[0];",
  },
  {
    name: "a proxy that returns gets its leaf before its bundle",
    rule: "E10",
    file: "src/controller/mesh-secrets.ts",
    from: "!readyForLeaf(row, this.#neededRoots(), successorAt)",
    to: "!readyForLeaf(row, [], successorAt)",
  },
  {
    name: "published before it is durable",
    rule: "E7",
    file: "src/controller/leader.ts",
    from: "    const revision = await disk.save(plan.trust, roots.specs);\n",
    to: "    const revision = 1e9 + plan.trust.generation;\n    void disk.save(plan.trust, roots.specs);\n",
  },
  {
    name: "written before it is recorded",
    rule: "E7",
    file: "src/secrets/secret-session.ts",
    from: ": controller.durable(this.#proxy.uuid) }",
    to: ": Promise.resolve() }",
  },
  {
    name: "the repeated nonce of a NACK counts as an ACK",
    rule: "E4",
    file: "src/xds/subscription-requests.ts",
    from: 'if (sent.verdict !== undefined && sent.verdict !== "superseded") return state;',
    to: 'if (sent.verdict !== undefined && sent.verdict !== "superseded" && sent.verdict !== "nacked") return state;',
    also: [
      {
        file: "src/xds/subscription-requests.ts",
        from: "request.version !== sent.version)",
        to: "request.version === undefined)",
      },
      {
        file: "src/secrets/secret-session.ts",
        from: 'if (verdict !== "superseded") this.#seqs.delete(nonce);',
        to: "",
      },
    ],
  },
  {
    name: "a returning proxy's leaf waits only for the bundles that it asks for by now",
    rule: "E10",
    file: QUERIES,
    from: "    successorAt !== undefined &&\n    !asked.has(name) &&\n    successorAt >= Math.max(row.session.presentSince, session.lastAskedAt) + RESUBSCRIBED_AFTER_MS;",
    to: "    !asked.has(name);",
  },
  {
    name: "a name that is not asked for leaves the ledger at once",
    rule: "E13",
    file: LEDGER,
    from: "const UNASKED_MS = 15 * 60_000;",
    to: "const UNASKED_MS = 0;",
  },
  {
    name: "what an ended stream left is never asked about again",
    rule: "E6",
    file: QUERIES,
    from: "(lastSent > 0 || stream === HANDED_OUT)",
    to: "stream === HANDED_OUT",
  },
  {
    name: "a refused content is never tried again",
    rule: "E5",
    file: "src/controller/mesh-secrets.ts",
    from: "this.#clock.now() < refusal.retryAt",
    to: "this.#clock.now() < Number.POSITIVE_INFINITY",
  },
  {
    name: "trust grows after the signer has moved",
    rule: "trust before sign",
    file: "src/core/rotation/rotation-plan.ts",
    from: "if (added.length > 0) return grown(trust, added);",
    to: "if (added.length > 0) return { ...grown(trust, added), trust: { ...grown(trust, added).trust, signer: added[0]?.id ?? trust.signer } };",
  },
  {
    name: "a root leaves under the same generation",
    rule: "E1",
    file: "src/core/rotation/rotation-plan.ts",
    from: "generation: trust.generation + 1 }, []),",
    to: "generation: trust.generation }, []),",
  },
  {
    name: "unique bytes that repeat",
    rule: "E2",
    file: "src/secrets/secret-source.ts",
    from: 'randomBytes(8).toString("hex")',
    to: '"0123456789abcdef"',
  },
  {
    name: "after a restart every proxy gets a new leaf",
    rule: "E15",
    file: "src/controller/mesh-secrets.ts",
    from: "const known = has === undefined || slot === undefined ? undefined : resumable(slot, has);",
    to: "const known = undefined;",
  },
  {
    name: "a refusal ends with its stream",
    rule: "E12",
    file: QUERIES,
    from: "!isRefused && pairs.every(",
    to: "pairs.every(",
  },
  {
    name: "one bundle with our matchers speaks for all",
    rule: "E8",
    file: QUERIES,
    from: "name !== WITHOUT_NAMES);",
    to: 'name !== WITHOUT_NAMES) && !meshSlots(row, "bundle").some(({ matchers }) => matchers);',
  },
  {
    name: "an operator's word outlives its rotation",
    rule: "E8",
    file: "src/core/evidence/assumptions.ts",
    from: "return rootsFor(assumed, what)?.includes(root) !== false;",
    to: "return root !== undefined;",
    also: [
      {
        file: "src/core/evidence/assumptions.ts",
        from: "return roots.some((root) => !trust.xds.includes(root));",
        to: "return roots.length > 1_000 && trust.xds.length === 0;",
      },
    ],
  },
  {
    name: "connections outlive their credential's successor",
    rule: "C4",
    file: "src/core/evidence/outdated.ts",
    from: 'return "a newer credential is loaded";',
    to: "return undefined;",
  },
  {
    name: "our own certificate moves without waiting",
    rule: "C5",
    file: GATES,
    from: "[everyProxyHasReportedSinceTheRestart, everyXdsClientTrusts]",
    to: "[everyProxyHasReportedSinceTheRestart]",
  },
  {
    name: "the old root leaves the xDS port at once",
    rule: "C5",
    file: GATES,
    from: "[everyProxyHasReportedSinceTheRestart, noXdsClientAuthenticatesWith]",
    to: "[everyProxyHasReportedSinceTheRestart]",
  },
];
