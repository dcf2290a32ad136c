/** Rotations of a crash mesh, step by step; the server may be killed at any moment of them. */

import type { MeshStatus } from "../../src/controller/status.ts";
import type { CrashMesh } from "./crash-mesh.ts";
import { FIRST } from "./server.ts";

export type Walks = {
  /** Steps 1 to 6 to a new root, then new credentials for everybody, until the old root is gone from the xDS port too. */
  forward(): Promise<void>;
  /** To step 4 of a rotation to another new root, and back again. */
  back(): Promise<void>;
};

/** They can be walked again and again, in any order. */
export function rotationWalks(mesh: CrashMesh): Walks {
  const { at, step, setRole } = mesh;
  let signer = FIRST;
  let made = 0;
  const isActive = (name: string, { roots }: MeshStatus) =>
    roots.some((root) => root.name === name && root.role === "active");

  const grow = async (walk: string, old: string, next: string) => {
    const both = [old, next];
    await step(`${walk} 2: passive`, () => mesh.create(next), at(both, old));
    await step(
      `${walk} 3: active`,
      () => setRole(next, "active"),
      (status) => at(both, old)(status) && isActive(next, status),
    );
    await step(`${walk} 4: signer`, () => setRole(old, "passive"), at(both, next));
  };
  const shrink = async (walk: string, old: string, next: string) => {
    let secret = "";
    await step(`${walk} 5: distrust`, () => setRole(old, "inactive"), at([next], next));
    await step(
      `${walk} 6: removed`,
      async () => {
        secret = await mesh.remove(old);
      },
      async (status) => {
        const { trust, secrets } = await mesh.readDisk();
        return at([next], next)(status) && !secrets.has(secret) && trust?.authorities[old] === undefined;
      },
    );
  };

  return {
    async forward() {
      const [old, next] = [signer, `root-${++made}`];
      await grow("forward", old, next);
      await shrink("forward", old, next);
      await step("forward 7: credentials", mesh.renew, async (status) => {
        const trust = (await mesh.readDisk()).trust?.trust;
        return at([next], next)(status) && trust?.xds.length === 1 && trust.xdsServer === trust.signer;
      });
      signer = next;
    },
    async back() {
      const [old, next] = [signer, `root-${++made}`];
      const both = [old, next];
      await grow("back", old, next);
      await step(
        "back 4a: both active",
        () => setRole(old, "active"),
        (status) => at(both, next)(status) && isActive(old, status),
      );
      await step("back 4b: signer", () => setRole(next, "passive"), at(both, old));
      await shrink("back", next, old);
    },
  };
}
