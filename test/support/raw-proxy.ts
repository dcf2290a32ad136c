/** A proxy made of one raw stream that answers by itself: accepts what comes, unless a test says otherwise. */

import type { BootstrapAnswer } from "../../src/serve/admin-api.ts";
import type { TestServer } from "./server.ts";
import type { Response, XdsTestClient } from "./xds-client.ts";

export const MESH_NAMES = ["root-cert-for-mtls-inbound", "default"];

export type RawProxyOptions = {
  readonly variant?: "sotw" | "delta" | "ads" | "deltaAds";
  readonly names?: readonly string[];
  readonly port?: number;
};

export type RawProxy = {
  readonly uuid: string;
  readonly client: XdsTestClient;
  /** Everything that came, in order, with the answer that was given. */
  readonly answers: readonly { readonly response: Response; readonly nack: string | undefined }[];
  /** The text to refuse a response with; undefined accepts it. Asked when its turn has come. */
  judge: (response: Response) => string | undefined;
  /** Answers wait while it is true; what came meanwhile is answered afterwards. */
  hold: (on: boolean) => void;
  /** Version of the last accepted response with this name. */
  accepted(name: string): string | undefined;
  /** Goes away at once, as a process that is killed. */
  leave(): void;
  readonly ended: Promise<{ readonly code: number }>;
};

/** Asks for `names` at once. Its client is closed by the test. */
export function startRawProxy(
  server: TestServer,
  credentials: BootstrapAnswer,
  { variant = "ads", names = MESH_NAMES, port }: RawProxyOptions = {},
): RawProxy {
  const client = server.client(credentials, port);
  const options = { node: { id: credentials.proxy.uuid } };
  const stream = {
    sotw: () => client.secrets(options).request({ names }),
    ads: () => client.ads(options).request({ names }),
    delta: () => client.deltaSecrets(options).request({ subscribe: names }),
    deltaAds: () => client.deltaAds(options).request({ subscribe: names }),
  }[variant]();
  const answers: { response: Response; nack: string | undefined }[] = [];
  let released: Promise<void> = Promise.resolve();
  let release: () => void = () => undefined;

  const proxy: RawProxy = {
    uuid: credentials.proxy.uuid,
    client,
    answers,
    judge: () => undefined,
    hold(on) {
      release();
      if (on)
        released = new Promise((resolve) => {
          release = resolve;
        });
    },
    accepted: (name) => {
      const last = answers.findLast(({ response, nack }) => nack === undefined && nameOf(response) === name);
      return last === undefined ? undefined : versionOf(last.response);
    },
    leave() {
      void stream.cancel();
      client.close();
    },
    ended: stream.ended,
  };
  void answerAll();
  return proxy;

  async function answerAll(): Promise<void> {
    for (;;) {
      const response = await stream.next(undefined, 3_600_000).catch(() => undefined);
      if (response === undefined) return;
      await released;
      const nack = proxy.judge(response);
      answers.push({ response, nack });
      if (nack === undefined) stream.ack({}, response);
      else stream.nack(nack, {}, response);
    }
  }
}

export function nameOf({ secrets: [secret] }: Response): string | undefined {
  return secret?.name;
}

/** SotW says it of the response, delta of the resource. */
export function versionOf({ resources: [resource], version }: Response): string {
  return resource?.version === undefined || resource.version === "" ? version : resource.version;
}
