import assert from "node:assert/strict";
import { test } from "node:test";
import { type MeshRoot, ROLES, type Role } from "../../../src/core/roots/mesh-root.ts";
import { checkCreate, checkDelete, checkSet, checkUpdate } from "../../../src/core/roots/mesh-root-rules.ts";
import fc from "../../support/property.ts";
import { root } from "../../support/roots.ts";

const CONTROL = "osm-system";
const NAMES = ["a", "b", "c", "d"];

/** `set("active", "passive")` is root a active and root b passive, deeply frozen: no rule may change its arguments. */
function set(...roles: Role[]): MeshRoot[] {
  return freeze(roles.map((role, index) => root(NAMES[index] ?? "z", role)));
}

function freeze<Value>(value: Value): Value {
  if (typeof value === "object" && value !== null) Object.values(Object.freeze(value)).forEach(freeze);
  return value;
}

/** The verdict on giving root `name` another role. */
function move(roots: readonly MeshRoot[], name: string, role: Role) {
  const before = roots.find((candidate) => candidate.name === name);
  assert.ok(before);
  return checkUpdate(roots, before, freeze({ ...before, role }), CONTROL);
}

test("every row of the step table is an allowed set", () => {
  const rows: Role[][] = [
    ["active"],
    ["active", "passive"],
    ["active", "active"],
    ["passive", "active"],
    ["inactive", "active"],
  ];
  for (const roles of rows) assert.equal(checkSet(set(...roles), CONTROL), undefined, roles.join("+"));
});

test("every step of the table is allowed, forwards and back", () => {
  assert.equal(checkCreate(set("active"), root("b", "passive"), CONTROL), undefined);
  const edges: [Role[], string, Role][] = [
    [["active", "passive"], "b", "active"],
    [["active", "active"], "a", "passive"],
    [["passive", "active"], "a", "inactive"],
    [["inactive", "active"], "a", "passive"],
    [["passive", "active"], "a", "active"],
    [["active", "active"], "b", "passive"],
    [["active", "passive"], "b", "inactive"],
  ];
  for (const [roles, name, role] of edges) assert.equal(move(set(...roles), name, role), undefined, `${roles} ${name}`);
  assert.equal(checkDelete(set("inactive", "active"), root("a", "inactive"), CONTROL), undefined);
});

test("illegal sets are refused, each with its own sentence", () => {
  const rows: [Role[], RegExp][] = [
    [[], /no root would be active/],
    [["inactive"], /no root would be active/],
    [["inactive", "inactive"], /no root would be active/],
    [["passive"], /a would be passive alone/],
    [["passive", "inactive"], /a would be passive alone/],
    [["passive", "passive"], /2 roots would be passive .*: a, b/],
    [["active", "active", "active"], /3 roots would be in use: a, b, c/],
    [["active", "active", "passive"], /3 roots would be in use/],
    [["active", "passive", "passive"], /3 roots would be in use/],
    [["passive", "passive", "passive"], /3 roots would be in use/],
  ];
  for (const [roles, sentence] of rows) {
    const problem = checkSet(set(...roles), CONTROL);
    assert.equal(problem?.code, "MR1007", roles.join("+"));
    assert.match(problem?.message ?? "", sentence);
  }
});

test("a root outside the control namespace may only be inactive", () => {
  const outside = (role: Role) => root("x", role, { namespace: "elsewhere" });
  assert.match(checkSet([root("a", "active"), outside("passive")], CONTROL)?.message ?? "", /elsewhere\/x is outside/);
  assert.equal(checkSet([root("a", "active"), outside("inactive")], CONTROL), undefined);
  assert.equal(checkDelete([outside("active")], outside("active"), CONTROL), undefined);
});

test("a new root: active only where there is none, passive beside one, inactive always", () => {
  const rows: [Role[], Role, boolean][] = [
    [[], "active", true],
    [[], "passive", false],
    [[], "inactive", true],
    [["active"], "active", false],
    [["active"], "passive", true],
    [["active"], "inactive", true],
    [["active", "passive"], "passive", false],
    [["active", "passive"], "active", false],
    [["active", "active"], "passive", false],
    [["active", "passive"], "inactive", true],
    [["passive"], "active", true],
    [["passive"], "passive", false],
  ];
  for (const [roles, role, allowed] of rows) {
    const problem = checkCreate(set(...roles), root("new", role), CONTROL);
    assert.equal(problem?.code, allowed ? undefined : "MR1007", `${roles.join("+")} and a new ${role}`);
  }
});

test("a new root needs a name and a CA secret of its own", () => {
  const secretRef = { name: "a-ca", namespace: "osm-system" };
  assert.equal(checkCreate(set("active"), root("a", "inactive"), CONTROL)?.code, "MR1010");
  const sharing = root("b", "passive", { provider: { kind: "tresor", secretRef } });
  assert.match(checkCreate(set("active"), sharing, CONTROL)?.message ?? "", /root a already keeps .* osm-system\/a-ca/);
});

test("only the role may change", () => {
  const [before] = set("active");
  assert.ok(before);
  const rows: [Partial<MeshRoot>, string][] = [
    [{ trustDomain: "other.example" }, "trustDomain"],
    [{ spiffeEnabled: true }, "spiffeEnabled"],
    [{ provider: { kind: "tresor", secretRef: { name: "other", namespace: CONTROL } } }, "provider"],
  ];
  for (const [change, field] of rows) {
    const problem = checkUpdate([before], before, { ...before, ...change }, CONTROL);
    assert.equal(problem?.code, "MR1005");
    assert.ok(problem.message.includes(`${field} can't change`));
  }
  const reordered = { kind: "tresor" as const, secretRef: { namespace: CONTROL, name: "a-ca" } };
  const harmless = { ...before, provider: reordered, createdAt: 1, forceUnsafe: "drill" };
  assert.equal(checkUpdate([before], before, harmless, CONTROL), undefined);
});

test("active and inactive are two steps apart", () => {
  assert.equal(move(set("active", "active"), "a", "inactive")?.code, "MR1006");
  assert.equal(move(set("inactive", "active"), "a", "active")?.code, "MR1006");
});

test("an edit that keeps the role passes while the set is wrong, so that it can be repaired", () => {
  assert.equal(move(set("active", "active", "active"), "a", "active"), undefined);
  assert.equal(move(set("active", "active", "passive"), "c", "inactive"), undefined);
});

test("a root in use can't be deleted, nor one that is not there", () => {
  assert.equal(checkDelete(set("active", "passive"), root("b", "passive"), CONTROL)?.code, "MR1008");
  assert.equal(checkDelete(set("active"), root("a", "active"), CONTROL)?.code, "MR1008");
  assert.equal(checkDelete(set("active"), root("b", "inactive"), CONTROL)?.code, "MR1009");
  assert.equal(move(set("active"), "a", "active"), undefined);
  assert.equal(checkUpdate([], root("a", "active"), root("a", "active"), CONTROL)?.code, "MR1009");
});

const roles = fc.array(fc.constantFrom(...ROLES), { maxLength: 4 });

/** The step table as plain counts: a second opinion on the rules. */
function inTable(list: readonly Role[]): boolean {
  const count = (role: Role) => list.filter((each) => each === role).length;
  return ["1,0", "1,1", "2,0"].includes(`${count("active")},${count("passive")}`);
}

test("a set is allowed exactly when the step table has it", () => {
  fc.assert(fc.property(roles, (list) => (checkSet(set(...list), CONTROL) === undefined) === inTable(list)));
});

test("an update is allowed exactly when it moves one step and ends in the table", () => {
  const edit = fc.tuple(
    fc.array(fc.constantFrom(...ROLES), { minLength: 1, maxLength: 4 }),
    fc.nat(3),
    fc.constantFrom(...ROLES),
  );
  fc.assert(
    fc.property(edit, ([list, at, role]) => {
      const index = at % list.length;
      const before = list[index];
      const oneStep = before === "passive" || role === "passive";
      const allowed = before === role || (oneStep && inTable(list.with(index, role)));
      return (move(set(...list), NAMES[index] ?? "", role) === undefined) === allowed;
    }),
  );
});

test("allowed edits from an allowed set never leave the table", () => {
  const edit = fc.tuple(fc.nat(3), fc.constantFrom(...ROLES, "create" as const, "delete" as const));
  fc.assert(
    fc.property(fc.array(edit, { maxLength: 30 }), (edits) => {
      let roots = set("active");
      for (const [index, what] of edits) {
        const target = root(NAMES[index] ?? "", "passive");
        const existing = roots.find(({ name }) => name === target.name);
        if (what === "create") {
          if (checkCreate(roots, target, CONTROL) === undefined) roots = freeze([...roots, target]);
        } else if (existing !== undefined && what === "delete") {
          if (checkDelete(roots, existing, CONTROL) === undefined)
            roots = freeze(roots.filter((each) => each !== existing));
        } else if (existing !== undefined && what !== "delete") {
          const after = { ...existing, role: what };
          if (checkUpdate(roots, existing, after, CONTROL) === undefined)
            roots = freeze(roots.map((each) => (each === existing ? after : each)));
        }
        assert.ok(inTable(roots.map(({ role }) => role)));
      }
    }),
  );
});
