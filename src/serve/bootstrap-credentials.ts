/** Credentials that an operator asks for: made, recorded, and only then handed out (evidence.md E6, C5). */

import type { RotationController } from "../controller/rotation-controller.ts";
import { raise } from "../core/errors.ts";
import { ownerProblem, uuidProblem } from "../core/evidence/proxy-owner.ts";
import { identityName, type ServiceIdentity } from "../core/identity.ts";
import type { BootstrapRequest } from "./admin-api.ts";
import type { BootstrapCredentials, CertificateMaker } from "./certificate-maker.ts";

/** By uuid: whose credentials were handed out by this process. Not all of them are in the ledger, which begins with a connection. */
const OWNERS_KEPT = 100_000;
export type Owners = Map<string, string>;

/** Throws MR4010 for a uuid of another identity, and what `CertificateMaker.bootstrap` throws. */
export async function handOut(
  issuing: Pick<CertificateMaker, "bootstrap">,
  controller: Pick<RotationController, "trust" | "ledger" | "observe" | "durable">,
  request: BootstrapRequest,
  now: () => number,
  owners: Owners,
): Promise<BootstrapCredentials> {
  for (;;) {
    const wanted = request.uuid;
    if (wanted !== undefined) {
      raise(uuidProblem(wanted) ?? ownerProblem(controller.ledger, wanted, request, owners));
      // Before the CA has signed, so that of two requests at once the second one sees it.
      own(owners, wanted, request);
    }
    const { trust } = controller;
    const { credentials, handedOut } = await issuing.bootstrap(request, trust);
    // A gate that moved while the CA signed did not know of this bundle.
    if (controller.trust !== trust) continue;
    const { uuid } = credentials.proxy;
    own(owners, uuid, credentials.proxy);
    controller.observe({ type: "issued", proxy: uuid, credential: handedOut, at: now() });
    await controller.durable(uuid);
    return credentials;
  }
}

function own(owners: Owners, uuid: string, identity: ServiceIdentity): void {
  owners.delete(uuid);
  owners.set(uuid, identityName(identity));
  const [oldest] = owners.keys();
  if (owners.size > OWNERS_KEPT && oldest !== undefined) owners.delete(oldest);
}
