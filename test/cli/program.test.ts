import assert from "node:assert/strict";
import { test } from "node:test";
import type { MeshAccess } from "../../src/access/mesh-access.ts";
import type { CliContext } from "../../src/cli/context.ts";
import { runCli } from "../../src/cli/program.ts";
import type { RootStatus } from "../../src/controller/status.ts";
import { type ErrorCode, MeshrootError } from "../../src/core/errors.ts";
import type { RootListing } from "../../src/core/roots/mesh-root.ts";
import { root } from "../support/roots.ts";

const UNUSED = () => Promise.reject(new Error("not expected here"));

/** Runs a command line on roots that exist only here. */
async function run(
  argv: string[],
  listing: Partial<RootListing> = {},
  { env = {}, ...more }: Partial<MeshAccess> & Partial<Pick<CliContext, "env">> = {},
) {
  const output = { out: "", err: "" };
  const code = await runCli(argv, {
    stdout: (text) => {
      output.out += text;
    },
    stderr: (text) => {
      output.err += text;
    },
    env,
    version: "1.2.3",
    now: () => Date.parse("2026-01-31T00:00:00Z"),
    readInput: UNUSED,
    logDestination: undefined,
    untilSignal: UNUSED,
    openMesh: () => ({
      status: async () => undefined,
      ...{ bootstrap: UNUSED, operate: UNUSED, examine: UNUSED },
      roots: {
        list: async () => ({ roots: [], outdated: [], problems: [], ...listing }),
        parse: () => [],
        edit: UNUSED,
      },
      ...more,
    }),
  });
  return { code, ...output };
}

test("help goes to standard output and documents the exit codes", async () => {
  for (const argv of [["--help"], ["root", "--help"], ["root", "create", "-h"], ["help", "root"]]) {
    const { code, out, err } = await run(argv);
    assert.equal(code, 0, argv.join(" "));
    assert.match(out, /Exit codes: 0 ok, 1 failed, 2 wrong usage.*3 a gate blocks.*4 timed out, 5 .*130 interrupted/s);
    assert.equal(err, "");
  }
});

test("no command is wrong usage, answered with the help", async () => {
  for (const argv of [[], ["root"]]) {
    const { code, out, err } = await run(argv);
    assert.equal(code, 2);
    assert.equal(out, "");
    assert.match(err, /^Usage: meshroot/);
  }
});

test("wrong usage is MR5001 with what was probably meant", async () => {
  const rows: [string[], RegExp, RegExp][] = [
    [["rot"], /unknown command 'rot'/, /Did you mean root\?/],
    [["frobnicate"], /unknown command 'frobnicate'/, /--help/],
    [["root", "list", "--data-dri", "x"], /unknown option '--data-dri'/, /Did you mean --data-dir\?/],
    [["root", "list", "-o", "xml"], /'xml' is invalid.*table, wide, json, yaml, name/, /--help/],
    [["root", "set-role", "a", "primary"], /'primary' is invalid.*active, passive, inactive/, /--help/],
    [["root", "set-role", "a"], /missing required argument 'role'/, /--help/],
    [["root", "set-role", "a", "passive", "--force-unsafe", " "], /needs a reason/, /Say why/],
    [["root", "create"], /either a name or -f FILE/, /--help/],
    [["root", "create", "a", "-f", "b"], /either a name or -f FILE/, /--help/],
    [["root", "list", "extra"], /too many arguments/, /--help/],
  ];
  for (const [argv, message, hint] of rows) {
    const { code, out, err } = await run(argv);
    assert.equal(code, 2, argv.join(" "));
    assert.equal(out, "");
    assert.match(err, /^error: MR5001 .+\nhint: .+\n$/);
    assert.match(err, message);
    assert.match(err, hint);
  }
});

test("an error's code decides how the process ends", async () => {
  const rows: [ErrorCode, number][] = [
    ["MR2002", 1],
    ["MR5002", 2],
    ["MR5004", 5],
  ];
  for (const [code, exit] of rows) {
    const failing = () => Promise.reject(new MeshrootError(code, "says this", "Do that."));
    const result = await run(["root", "list"], {}, { roots: { list: failing, parse: () => [], edit: failing } });
    assert.deepEqual(result, { code: exit, out: "", err: `error: ${code} says this\nhint: Do that.\n` });
  }
});

test("a fault of ours says so and shows its stack only on request", async () => {
  const broken = { status: () => Promise.reject(new TypeError("oops")) };
  const { code, err } = await run(["root", "list"], {}, broken);
  assert.equal(code, 1);
  assert.match(err, /^error: unexpected: oops\nhint: .*MESHROOT_DEBUG=1/);
  assert.match((await run(["root", "list"], {}, { ...broken, env: { MESHROOT_DEBUG: "1" } })).err, /program\.test\.ts/);
});

test("version, for people and for programs", async () => {
  assert.equal((await run(["--version"])).out, "1.2.3\n");
  assert.match((await run(["version"])).out, /^meshroot 1\.2\.3 \(Node /);
  assert.equal(JSON.parse((await run(["version", "-o", "json"])).out).version, "1.2.3");
});

test("without a server its columns are empty, problems are warnings", async () => {
  const problem = { code: "MR2003", message: "broken", hint: "Mend it." } as const;
  const { code, out, err } = await run(["root", "list"], {
    roots: [root("a", "active")],
    outdated: ["osm-system/a"],
    problems: [{ source: "a.yaml", problem }],
  });
  assert.equal(code, 0);
  assert.deepEqual(
    out.split("\n").map((line) => line.split(/ +/).join(" ")),
    ["NAME ROLE PROVIDER STATE SIGNING VALIDATING PROXIES EXPIRES AGE", "a active tresor - - - - - 30d", ""],
  );
  assert.equal(
    err,
    "warning: a.yaml: MR2003 broken\nhint: Mend it.\nwarning: shown as last read: osm-system/a\nNo server has run on ./meshroot-data yet.\n",
  );
});

test("with a server they say what it knows", async () => {
  const componentStatuses = { xdsControlPlane: "issuing", sidecar: "issuing", bootstrap: "issuing" } as const;
  const status: RootStatus = {
    ...{ name: "a", namespace: "osm-system", role: "active", provider: "tresor", trustDomain: "cluster.local" },
    ...{ spiffeEnabled: false, fingerprint: "ab".repeat(32), serial: "1", createdAt: undefined, state: "issuing" },
    ...{ notAfter: "2036-01-01T00:00:00Z", signing: true, validating: true, proxies: { total: 12, trusting: 11 } },
    componentStatuses,
  };
  const mesh = {
    live: true,
    generation: 1,
    signer: "a",
    trusted: ["a"],
    roots: [status],
    holds: [],
    problems: [],
    warnings: [],
    authorityProblems: [],
    proxies: [],
  };
  const more = { status: async () => mesh };
  const listing = { roots: [root("a", "active")] };
  assert.match((await run(["root", "list"], listing, more)).out, /issuing +yes +yes +11\/12 +2036-01-01 +30d\n$/);
  assert.match((await run(["mrc", "ls", "-o", "wide"], listing, more)).out, /abababababababab +cluster.local +no/);
  const object = JSON.parse((await run(["root", "get", "a", "-o", "json"], listing, more)).out);
  assert.equal(object.kind, "MeshRootCertificate");
  assert.equal(object.status.proxies.trusting, 11);
});

test("a root that is not there is MR1009, with the names of those that are", async () => {
  const { code, err } = await run(["root", "get", "b"], { roots: [root("a", "active")] });
  assert.equal(code, 1);
  assert.equal(err, "error: MR1009 no root b in namespace osm-system\nhint: There are: a.\n");
});
