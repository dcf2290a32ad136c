/** `meshroot/xds`: an xDS server for Node that knows streams, subscriptions and versions, and nothing of certificates. */

export { XdsServer, type XdsServerDeps } from "./server.ts";
export type { ResourceSession, ResourceSource, XdsClient } from "./source.ts";
export type { StreamEvent } from "./stream.ts";
export type { Bytes, Offer, Verdict } from "./subscription.ts";
export type { FrontCredentials } from "./tls-front.ts";
export type { AnyResource } from "./wire.ts";
