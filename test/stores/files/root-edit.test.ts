import assert from "node:assert/strict";
import { test } from "node:test";
import { parseAllDocuments } from "yaml";
import { cutDocument, editDocument } from "../../../src/stores/files/root-edit.ts";
import { manifest } from "../../support/roots.ts";

const FORCE = ["metadata", "annotations", "meshroot.dev/force-unsafe"];
const ROLE = ["spec", "role"];
const plain = (text: string) =>
  parseAllDocuments(text).map((document) => ("toJS" in document ? document.toJS() : null));

test("a role is changed in place, every other byte stays", () => {
  const text = `${manifest("a", "active")}---\n${manifest("b", "passive")}`;
  assert.equal(
    editDocument(text, 1, [{ path: ROLE, value: "active" }]),
    `${manifest("a", "active")}---\n${manifest("b", "active")}`,
  );
  assert.equal(editDocument(text, 0, [{ path: ROLE, value: "active" }]), text);
});

test("quotes around a role, Windows line ends and flow style are no obstacle", () => {
  assert.equal(
    editDocument('spec:\r\n  role: "active" # x\r\n', 0, [{ path: ROLE, value: "passive" }]),
    "spec:\r\n  role: passive # x\r\n",
  );
  assert.equal(
    editDocument("{spec: {role: active}}", 0, [{ path: ROLE, value: "passive" }]),
    "{spec: {role: passive}}",
  );
});

test("an annotation is put in and taken out again without a trace", () => {
  const text = manifest("a", "active");
  const forced = editDocument(text, 0, [{ path: FORCE, value: 'stolen: "key"' }]);
  assert.equal(plain(forced)[0].metadata.annotations["meshroot.dev/force-unsafe"], 'stolen: "key"');
  assert.equal(forced.split("\n").length, text.split("\n").length + 2);
  assert.equal(editDocument(forced, 0, [{ path: FORCE, value: undefined }]), text);
});

test("an annotation is put beside others, changed, and taken out alone", () => {
  const text = "metadata:\n  annotations:\n    # ours\n    team: mesh\n  name: a\n";
  const forced = editDocument(text, 0, [{ path: FORCE, value: "one" }]);
  const other = editDocument(forced, 0, [{ path: FORCE, value: "two words" }]);
  assert.deepEqual(plain(other)[0].metadata.annotations, { "meshroot.dev/force-unsafe": "two words", team: "mesh" });
  assert.equal(editDocument(other, 0, [{ path: FORCE, value: undefined }]), text);
});

test("where no splice is safe the document is written anew, comments included", () => {
  for (const text of [
    "# top\nmetadata: {name: a} # end\n",
    "# top\nmetadata: # end\n  name: a\n  annotations: {}\n",
    "# top\n# end\nmetadata:\n  name: a\n  annotations:\n",
  ]) {
    const forced = editDocument(`${text}---\nother: 1\n`, 0, [{ path: FORCE, value: "x" }]);
    assert.equal(plain(forced)[0].metadata.annotations["meshroot.dev/force-unsafe"], "x", text);
    assert.deepEqual(plain(forced)[1], { other: 1 });
    assert.match(forced, /# top/);
    assert.match(forced, /# end/);
    assert.equal(
      plain(editDocument(forced, 0, [{ path: FORCE, value: undefined }]))[0].metadata.annotations,
      undefined,
    );
  }
});

test("one of several documents is cut out, comments of the others stay", () => {
  const text = `${manifest("a", "active")}---\n${manifest("b", "passive")}---\n${manifest("c", "inactive")}`;
  const names = (index: number) => plain(cutDocument(text, index)).map((object) => object.metadata.name);
  assert.deepEqual(
    [names(0), names(1), names(2)],
    [
      ["b", "c"],
      ["a", "c"],
      ["a", "b"],
    ],
  );
  assert.match(cutDocument(text, 1), /# The root called a.*# The root called c/s);
});
