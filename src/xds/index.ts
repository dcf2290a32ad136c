/** `meshroot/xds`: an xDS server for Node that knows streams, subscriptions and versions, and nothing of certificates. */

export type { XdsConnection } from "./connections.ts";
export type { ServerHints } from "./hints.ts";
export { type Resource, type ResourceMap, type ResourceMapOptions, resourceMap } from "./resource-map.ts";
export { type ResourceSet, type ResourceSetOptions, type ResourceVerdict, resourceSet } from "./resource-set.ts";
export { XdsServer, type XdsServerDeps } from "./server.ts";
export type { ResourceSession, ResourceSource, XdsClient } from "./source.ts";
export type { StreamEvent } from "./stream.ts";
export type { Bytes, Item, Offer, Packing, Verdict } from "./subscription-state.ts";
export type { FrontCredentials, RefusedClient } from "./tls-front.ts";
export type { AnyResource, Node } from "./wire.ts";
