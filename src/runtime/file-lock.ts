/** A lock between processes: a file that says who holds it. */

import { randomBytes } from "node:crypto";
import { link, readFile, rename, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { MeshrootError } from "../core/errors.ts";
import { isObject } from "../core/object-reader.ts";
import { type BeforeStep, createAtomically } from "./atomic-write.ts";
import { readText } from "./read-text.ts";
import { diskHint, faultText, isSystemError } from "./system-error.ts";

export type FileLock = { release(): Promise<void> };

/** `startTime`: clock ticks from boot to the start of the process (proc_pid_stat(5) field 22), null without /proc. */
type Holder = {
  readonly pid: number;
  readonly startTime: string | null;
  readonly host: string;
  readonly token: string;
};

const RETRY_MS = 50;

/**
 * Takes the lock at `path`, trying for up to `waitMs`. A lock whose process is gone is taken over: gone means that no
 * process has its number, or that the one that has it started at another time. Across hosts (a shared volume) nobody can
 * tell, so such a lock stands until somebody deletes the file. Throws MR2001, which names the holder, and MR2002 where the file
 * can't be made.
 */
export async function takeLock(path: string, waitMs = 0, beforeStep?: BeforeStep): Promise<FileLock> {
  const me: Holder = {
    pid: process.pid,
    startTime: (await processStart(process.pid)) ?? null,
    host: hostname(),
    token: randomBytes(8).toString("hex"),
  };
  // The content is written before the name appears, so that nobody ever reads half a lock.
  for (let waitedMs = 0; ; waitedMs += RETRY_MS) {
    if (await claim(path, me, beforeStep)) return { release: () => release(path, me) };
    const holder = await readHolder(path);
    if (holder === undefined) continue;
    if (await isGone(holder)) {
      await putAside(path, holder, beforeStep);
      continue;
    }
    if (waitedMs >= waitMs) throw inUse(path, holder);
    await sleep(RETRY_MS);
  }
}

async function claim(path: string, me: Holder, beforeStep: BeforeStep | undefined): Promise<boolean> {
  try {
    return await createAtomically(path, `${JSON.stringify(me)}\n`, { mode: 0o600, beforeStep });
  } catch (error) {
    // It may be there already: what failed can be the last step, which makes it durable.
    await release(path, me).catch(() => undefined);
    throw new MeshrootError(
      "MR2002",
      `can't make ${path}: ${faultText(error)}`,
      `Nothing was changed, and proxies go on with what they have. ${diskHint(path, error, "start it again")}`,
      error,
    );
  }
}

async function readHolder(path: string): Promise<Holder | undefined> {
  try {
    const holder: unknown = JSON.parse((await readText(path)).text);
    if (isObject(holder) && Number.isInteger(holder.pid)) return holder as Holder;
    throw new Error("no process number");
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return undefined;
    throw new MeshrootError(
      "MR2001",
      `${path} is not a lock that meshroot wrote`,
      `If no meshroot uses this directory, delete ${path}.`,
      error,
    );
  }
}

async function isGone(holder: Holder): Promise<boolean> {
  if (holder.host !== hostname()) return false;
  if (!isRunning(holder.pid)) return true;
  const startTime = await processStart(holder.pid);
  return startTime !== undefined && holder.startTime !== null && startTime !== holder.startTime;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !isSystemError(error, "ESRCH");
  }
}

/** Undefined where there is no /proc; "gone" for a process that has ended but was not collected by its parent yet. */
async function processStart(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    // The command name in field 2 may hold spaces and brackets, so count from the last bracket.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? "gone" : fields[19];
  } catch {
    return undefined;
  }
}

/**
 * Removes a dead holder's lock, and only that one: between reading and renaming, somebody else may have taken it over, and
 * then theirs goes back into place.
 */
async function putAside(path: string, dead: Holder, beforeStep?: BeforeStep): Promise<void> {
  const aside = `${path}.${randomBytes(4).toString("hex")}.stale`;
  try {
    beforeStep?.("rename", aside);
    await rename(path, aside);
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return;
    throw new MeshrootError("MR2002", `can't take over ${path}: ${faultText(error)}`, diskHint(path, error), error);
  }
  const taken = await readHolder(aside);
  if (taken?.token !== dead.token) await link(aside, path).catch(() => undefined);
  beforeStep?.("remove", aside);
  await rm(aside, { force: true });
}

async function release(path: string, me: Holder): Promise<void> {
  const holder = await readHolder(path);
  if (holder?.token === me.token) await rm(path, { force: true });
}

function inUse(path: string, holder: Holder): MeshrootError {
  const here = holder.host === hostname();
  return new MeshrootError(
    "MR2001",
    `${path} is held by process ${holder.pid}${here ? "" : ` on ${holder.host}`}`,
    here
      ? `Stop process ${holder.pid} first, or use another --data-dir.`
      : `Stop the meshroot on ${holder.host}. If that host is gone for good, delete ${path}.`,
  );
}
