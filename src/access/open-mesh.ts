/** The one place that decides who answers a command: the server where one runs, else the data directory itself. */

import { QUIET } from "../ports/log.ts";
import { systemClock } from "../serve/system-clock.ts";
import { openFileStore } from "../stores/files/file-store.ts";
import { readRootDocuments } from "../stores/files/root-documents.ts";
import { socketAccess } from "./admin-client.ts";
import type { MeshAccess, MeshLocation } from "./mesh-access.ts";

/** Asked anew for each question: a server may come and go meanwhile. `env`: settings that a server would be given. */
export function openMesh(at: MeshLocation, env: Readonly<Record<string, string | undefined>>): MeshAccess {
  const { namespace } = at;
  const open = () => openFileStore(at, { clock: systemClock, log: QUIET });
  const server = socketAccess(at.dataDir);
  // Loaded only where it is needed: whoever asks a server, or looks at files, needs nothing that signs.
  const folder = async () => (await import("./folder-access.ts")).folderAccess({ open, namespace, env });
  return {
    status: async () => (await server.status()) ?? (await folder()).status(),
    bootstrap: async (request, config) =>
      (await server.bootstrap(request)) ?? (await folder()).bootstrap(request, config),
    async operate(request) {
      const answer = await server.operate(request);
      if (answer !== undefined) return { answer, live: true };
      return { answer: await (await folder()).operate(request), live: false };
    },
    async examine(root) {
      if ((await server.examine(root)) === undefined) await (await folder()).examine(root);
    },
    roots: {
      async list() {
        const store = open();
        await store.mustExist();
        return store.roots.list();
      },
      parse: (text) => readRootDocuments(text, { createdAt: systemClock.now(), defaultNamespace: namespace }),
      edit: (work) => open().rootEditing.edit(work),
    },
  };
}
