/** What changes in the store while a server runs: roots and services. */

import { complainer } from "../ops/complainer.ts";
import type { Log } from "../ports/log.ts";
import type { Watch } from "../ports/store.ts";
import type { RunningMesh } from "./running-mesh.ts";

export async function watchRoots({ controller, log, store }: RunningMesh): Promise<Watch> {
  let told = "";
  return store.roots.watch((list) => {
    // A list may come again only to say that it is no longer provisional.
    const isNews = told !== JSON.stringify(list.problems);
    told = JSON.stringify(list.problems);
    for (const { source: file, problem } of isNews ? list.problems : [])
      log.warn({ component: "store", file, code: problem.code, hint: problem.hint }, `${file}: ${problem.message}`);
    controller.setRoots(list);
  }, whenUnreadable(log));
}

export async function watchServices({ log, secrets, store }: RunningMesh): Promise<Watch> {
  return store.services.watch(({ services, problems }) => {
    for (const problem of problems)
      log.warn({ component: "store", code: problem.code, hint: problem.hint }, problem.message);
    if (problems.length === 0) secrets.setServices(services);
  }, whenUnreadable(log));
}

/** A folder or file that can't be read for now: what was read last stays in force, and the next poll tries again. */
function whenUnreadable(log: Log): (error: unknown) => void {
  const complain = complainer(log.warn.bind(log), "store");
  return (error) => complain(error, (message) => `${message}; what was read last stays in force`);
}
