import assert from "node:assert/strict";
import { test } from "node:test";
import { age, printItem, printList, table, type View } from "../../src/cli/output.ts";

const VIEW: View<{ id: string; note: string }> = {
  columns: [
    { title: "NAME", value: ({ id }) => id },
    { title: "NOTE", value: ({ note }) => note, wide: true },
  ],
  object: (item) => ({ kind: "Thing", ...item }),
  name: ({ id }) => `thing/${id}`,
};
const ITEMS = [
  { id: "a", note: "first" },
  { id: "longer", note: "" },
];

test("columns stand three spaces apart and no line ends in spaces", () => {
  assert.equal(
    table([
      ["A", "BB", "C"],
      ["aaaa", "", "c"],
    ]),
    "A      BB   C\naaaa        c\n",
  );
  assert.equal(table([]), "");
});

test("every format", () => {
  assert.equal(printList(ITEMS, VIEW, "table"), "NAME\na\nlonger\n");
  assert.equal(printList(ITEMS, VIEW, "wide"), "NAME     NOTE\na        first\nlonger\n");
  assert.equal(printList(ITEMS, VIEW, "name"), "thing/a\nthing/longer\n");
  assert.deepEqual(JSON.parse(printList(ITEMS, VIEW, "json")), {
    apiVersion: "v1",
    kind: "List",
    items: ITEMS.map((item) => ({ kind: "Thing", ...item })),
  });
  assert.deepEqual(JSON.parse(printList([], VIEW, "json")).items, []);
  assert.equal(printItem({ id: "a", note: "first" }, VIEW, "yaml"), "kind: Thing\nid: a\nnote: first\n");
});

test("an age has one unit", () => {
  const rows: [number, string][] = [
    [-5, "0s"],
    [119_999, "119s"],
    [120_000, "2m"],
    [2 * 3_600_000, "2h"],
    [47 * 3_600_000, "47h"],
    [48 * 3_600_000, "2d"],
  ];
  for (const [ms, expected] of rows) assert.equal(age(ms), expected);
});

test("a table has as many rows as there are proxies", () => {
  // So many can't be spread into the arguments of one call.
  const many = 200_000;
  const rows = Array.from({ length: many }, (_, index) => [`${index}`, "SYNCED"]);
  const text = table(rows);
  assert.equal(text.split("\n").length, many + 1);
  assert.ok(text.startsWith("0        SYNCED\n"));
});
