/** The form of a log line, which people grep and machines parse. */

import assert from "node:assert/strict";
import { Writable } from "node:stream";
import { test } from "node:test";
import { MeshrootError } from "../../src/core/errors.ts";
import { createLog } from "../../src/ops/log.ts";
import { until } from "../support/server.ts";

function logTo(format: "json" | "pretty", level = "info") {
  const written: string[] = [];
  // pino-pretty pipes: it needs a whole stream, and its lines come a little later.
  const destination = new Writable({
    decodeStrings: false,
    write(chunk, _encoding, done) {
      written.push(String(chunk));
      done();
    },
  });
  return { log: createLog({ level, format, destination }), written };
}

test("JSON: one object a line, with OSM's keys, an RFC 3339 time and nothing of the machine", () => {
  const { log, written } = logTo("json");
  log.info({ component: "rotation", root: "a" }, "hello");
  log.debug({}, "not at this level");
  assert.equal(written.length, 1);
  assert.match(written[0] ?? "", /^\{.*\}\n$/);
  const line = JSON.parse(written[0] ?? "");
  assert.deepEqual(Object.keys(line).sort(), ["component", "level", "message", "root", "time"]);
  assert.deepEqual([line.level, line.message], ["info", "hello"]);
  assert.match(line.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
});

test("an error brings its code and hint", () => {
  const { log, written } = logTo("json");
  log.error({ err: new MeshrootError("MR3004", "signing failed", "Do this.") }, "oops");
  const { err } = JSON.parse(written[0] ?? "");
  assert.deepEqual([err.code, err.hint, err.message], ["MR3004", "Do this.", "MR3004 signing failed"]);
});

test("keys and tokens are cut out, at the top and one level below", async () => {
  for (const format of ["json", "pretty"] as const) {
    const { log, written } = logTo(format);
    log.info(
      { key: "SECRET", token: "SECRET", leaf: { privateKeyPem: "SECRET", privateKey: "SECRET", serial: "1f" } },
      "x",
    );
    await until("it is written", () => written.length > 0);
    assert.doesNotMatch(written.join(""), /SECRET/);
    assert.match(written.join(""), /\[redacted\].*1f|1f.*\[redacted\]/s);
  }
});

test("pretty: a line for people", async () => {
  const { log, written } = logTo("pretty");
  log.warn({ component: "xds", proxy: "p1" }, "xDS client refused");
  await until("it is written", () => written.length > 0);
  const text = written.join("");
  assert.match(text, /WARN.*xDS client refused.*"proxy":"p1"/s);
  assert.doesNotMatch(text, /component/);
});
