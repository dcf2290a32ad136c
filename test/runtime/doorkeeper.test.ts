/** D3: who may stand in a port's door. */

import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { test } from "node:test";
import { Doorkeeper, type DoorLimits } from "../../src/runtime/doorkeeper.ts";

class Visitor extends EventEmitter {
  destroyed = false;
  readonly remoteAddress: string;
  constructor(remoteAddress: string) {
    super();
    this.remoteAddress = remoteAddress;
  }
  destroy(): void {
    this.destroyed = true;
  }
  /** What a socket says after it was destroyed, or when its peer has gone. */
  close(): void {
    this.emit("close");
  }
}

function opened(limits: Partial<DoorLimits> = {}) {
  let now = 0;
  let timers: { at: number; callback: () => void }[] = [];
  const turned: string[] = [];
  const door = new Doorkeeper({
    limits: { maxConnections: 10, maxStrangers: 3, proveWithinMs: 100, chanceMs: 20, ...limits },
    now: () => now,
    after: (ms, callback) => {
      const timer = { at: now + ms, callback };
      timers.push(timer);
      return () => {
        timers = timers.filter((one) => one !== timer);
      };
    },
    turnedAway: (why, address) => turned.push(`${why} ${address}`),
  });
  const come = (address: string) => {
    const visitor = new Visitor(address);
    door.enter(visitor);
    return visitor;
  };
  /** One turn of the event loop, which takes so long. */
  const turn = (ms: number) => {
    now += ms;
    const due = timers.filter(({ at }) => at <= now);
    timers = timers.filter(({ at }) => at > now);
    for (const timer of due) timer.callback();
  };
  const pass = (ms: number) => {
    for (let passed = 0; passed < ms; passed += 1) turn(1);
  };
  return { door, come, pass, turn, turned, timers: () => timers.length };
}

test("D3: whoever has not proved itself in time is turned away, and whoever has may stay", () => {
  const { door, come, pass, turned, timers } = opened();
  const [slow, quick] = [come("a"), come("b")];
  pass(60);
  door.welcome(quick, "b");
  pass(40);
  assert.deepEqual([slow.destroyed, quick.destroyed, turned], [true, false, ["late a"]]);
  slow.close();
  assert.deepEqual([door.connections, door.strangers, timers()], [1, 0, 0]);
});

test("D3: a server that is too busy for its handshakes takes it out on nobody", () => {
  const { come, turn, turned } = opened();
  const visitor = come("a");
  for (let turns = 0; turns < 9; turns++) turn(1_000);
  assert.equal(visitor.destroyed, false, "it was looked at nine times only");
  turn(1_000);
  assert.deepEqual([visitor.destroyed, turned], [true, ["late a"]]);
});

test("D3: without room the newcomer waits for those that are still within their chance", () => {
  const { come, pass, turned } = opened();
  const first = ["a", "b", "c"].map(come);
  assert.equal(come("d").destroyed, true, "nobody has more than it");
  assert.deepEqual(turned, ["crowded d"]);
  pass(20);
  assert.equal(come("d").destroyed, false);
  assert.deepEqual(
    first.map(({ destroyed }) => destroyed),
    [true, false, false],
    "the oldest gives way",
  );
});

test("D3: whoever has most gives way at once, for an address that has less", () => {
  const { door, come } = opened();
  const flood = ["x", "x", "x"].map(come);
  const other = come("a");
  assert.deepEqual([other.destroyed, ...flood.map(({ destroyed }) => destroyed)], [false, true, false, false]);
  flood[0]?.close();
  assert.deepEqual([door.connections, door.strangers], [3, 3]);
  assert.equal(come("x").destroyed, true, "its next one does not push itself forward");
  assert.equal(door.connections, 3);
});

test("D3: all connections together have a limit, and only strangers give way for it", () => {
  const { door, come, pass } = opened({ maxConnections: 2 });
  const [one, two] = [come("a"), come("b")];
  door.welcome(one, "a");
  pass(20);
  const third = come("c");
  assert.deepEqual([one.destroyed, two.destroyed, third.destroyed], [false, true, false]);
  door.welcome(third, "c");
  assert.equal(come("d").destroyed, true);
  one.close();
  assert.equal(come("d").destroyed, false);
});

test("D3: the addresses of one IPv6 network are one", () => {
  const { come } = opened();
  const flood = ["2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:2:3:4:5:6"].map(come);
  assert.equal(come("2001:db8:1:2:9:9:9:9").destroyed, true);
  assert.equal(come("2001:db8:1:3::1").destroyed, false);
  assert.equal(flood[0]?.destroyed, true);
  const mapped = opened();
  ["::ffff:10.0.0.1", "::ffff:10.0.0.1", "::ffff:10.0.0.1"].map(mapped.come);
  assert.equal(mapped.come("::ffff:10.0.0.2").destroyed, false);
});
