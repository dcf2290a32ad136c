import assert from "node:assert/strict";
import { isIPv4, isIPv6 } from "node:net";
import { test } from "node:test";
import { formatHostPort, parseHost, parseHostPort, parsePort } from "../../src/core/address.ts";
import fc from "../support/property.ts";

test("B7, B8: hosts in every form, an IPv6 address without its brackets", () => {
  const rows: [string, string, string][] = [
    ["127.0.0.1", "127.0.0.1", "IPv4"],
    ["::1", "::1", "IPv6"],
    ["[::1]", "::1", "IPv6"],
    ["::", "::", "IPv6"],
    ["::ffff:127.0.0.1", "::ffff:127.0.0.1", "IPv6"],
    ["[fe80::1%eth0]", "fe80::1%eth0", "IPv6"],
    ["2001:db8:0:0:0:0:0:1", "2001:db8:0:0:0:0:0:1", "IPv6"],
    ["localhost", "localhost", "name"],
    ["Xds.Example.com", "Xds.Example.com", "name"],
    ["my_host.", "my_host.", "name"],
  ];
  for (const [text, host, kind] of rows) assert.deepEqual(parseHost(text), { host, kind }, text);
  for (const text of ["", "[]", "[127.0.0.1]", "[::1", "::1]", "::1::", "1:2", "127.1", "256.0.0.1", "0x7f.0.0.1", "1"])
    assert.equal(parseHost(text), undefined, text);
  for (const text of ["a b", "a:1", "-a", "a..b", "http://a", "a/b", "::1%", "::1%a%b", "010.0.0.1", "a".repeat(254)])
    assert.equal(parseHost(text), undefined, text);
});

test("B8: host and port, or what is wrong with them", () => {
  const rows: [string, string, number][] = [
    ["127.0.0.1:1", "127.0.0.1", 1],
    ["[::1]:65535", "::1", 65_535],
    ["[::ffff:127.0.0.1]:8080", "::ffff:127.0.0.1", 8080],
    ["[fe80::1%lo]:8080", "fe80::1%lo", 8080],
    ["app.local:08080", "app.local", 8080],
  ];
  for (const [text, host, port] of rows) {
    const parsed = parseHostPort(text);
    assert.ok(typeof parsed === "object", text);
    assert.deepEqual([parsed.host, parsed.port], [host, port]);
    const again = parseHostPort(formatHostPort(host, port));
    assert.deepEqual(again, parsed);
  }
  const wrong: [string, RegExp][] = [
    ["::1", /IPv6 address without brackets/],
    ["::1:8080", /without brackets/],
    ["2001:db8:1:2:3:4:5:6:80", /without brackets/],
    ["[::1]", /no port/],
    ["here", /is not host:port/],
    [":80", /is not host:port/],
    ["", /is not host:port/],
    ["a:0", /no port from 1/],
    ["a:65536", /no port from 1/],
    ["a:99999999999999999999", /no port from 1/],
    ["a:+1", /no port from 1/],
    ["a:1e3", /no port from 1/],
    ["a:", /no port from 1/],
    ["http://a:1", /is a URL/],
    ["a/b:1", /is not host:port/],
    ["127.1:80", /is not host:port/],
  ];
  for (const [text, expected] of wrong) assert.match(String(parseHostPort(text)), expected, text);
  for (const text of ["0", "65536", "-1", "1.5", " 1", "0x50", "", "1e3"])
    assert.equal(parsePort(text), undefined, text);
});

test("what is an address is what Node calls one", () => {
  const written = fc.oneof(
    fc.ipV6(),
    fc.ipV4(),
    fc.stringMatching(/^[0-9a-f:.]{1,24}$/),
    fc.stringMatching(/^(?:[0-9a-f]{0,4}:){1,8}[0-9a-f.]{0,12}$/),
  );
  fc.assert(
    fc.property(written, (text) => {
      const kind = parseHost(text)?.kind;
      assert.equal(kind === "IPv6", isIPv6(text), text);
      assert.equal(kind === "IPv4", isIPv4(text), text);
    }),
  );
});
