/** Our own certificate on the xDS port: at the start, and for as long as the server runs. */

import type { Logger } from "pino";
import type { RotationController } from "../controller/rotation-controller.ts";
import { MeshrootError } from "../core/errors.ts";
import type { ClientIdentity } from "../xds/client-identity.ts";
import type { XdsServer } from "../xds/server.ts";
import { complainer } from "./complainer.ts";
import type { ServerCredentials } from "./issuing.ts";

/**
 * A mesh that has run before starts even if its root can't sign for us any more, because the way out is a rotation to another
 * root, and only a running server makes it; `keepCredentials` goes on trying, and says what is wrong.
 */
export async function firstCredentials(controller: RotationController, own: ServerCredentials) {
  try {
    return (await own.for(controller.trust)).credentials;
  } catch (error) {
    if (controller.recoveringSince === undefined || !(error instanceof MeshrootError)) throw error;
    return undefined;
  }
}

/** Our own certificate and the client CA follow the trust in force. */
export function keepCredentials(
  controller: RotationController,
  own: ServerCredentials,
  xds: XdsServer<ClientIdentity>,
  log: Logger,
): void {
  const complain = complainer(log.error.bind(log), "xds");
  let installed = "";
  let busy = false;
  controller.subscribe(() => {
    if (busy) return;
    busy = true;
    own
      .for(controller.trust)
      .then(({ credentials, problem }) => {
        const next = JSON.stringify(credentials);
        if (next !== installed) xds.setCredentials(credentials);
        installed = next;
        complain(problem, (message) => `our own xDS certificate could not be renewed yet: ${message}`);
      })
      .catch((error: unknown) => complain(error, (message) => `xDS has no certificate of its own: ${message}`))
      .finally(() => {
        busy = false;
      });
  });
}
