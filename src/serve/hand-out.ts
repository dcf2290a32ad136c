/** Credentials that an operator asks for: made, recorded, and only then handed out (evidence.md E6, C5). */

import type { RotationController } from "../controller/rotation-controller.ts";
import type { BootstrapRequest } from "./admin-api.ts";
import type { BootstrapCredentials, Issuing } from "./issuing.ts";

/** Throws what `Issuing.bootstrap` throws. */
export async function handOut(
  issuing: Issuing,
  controller: RotationController,
  request: BootstrapRequest,
  now: () => number,
): Promise<BootstrapCredentials> {
  for (;;) {
    const { trust } = controller;
    const { credentials, handedOut } = await issuing.bootstrap(request, trust);
    // A gate that moved while the CA signed did not know of this bundle.
    if (controller.trust !== trust) continue;
    const { uuid } = credentials.proxy;
    controller.observe({ type: "issued", proxy: uuid, credential: handedOut, at: now() });
    await controller.durable(uuid);
    return credentials;
  }
}
