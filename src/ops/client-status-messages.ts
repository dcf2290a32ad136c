/** The messages of envoy.service.status.v3 as @grpc/proto-loader gives and takes them (see `loadProtos`). */

import type { ClientResourceStatus, ConfigStatus } from "../core/evidence/secret-states.ts";

export type ClientStatusRequest = { readonly node_matchers: readonly NodeMatcher[] };
export type ClientStatusResponse = { readonly config: readonly ClientConfig[] };

export type ClientConfig = {
  readonly node: {
    readonly id: string;
    readonly cluster: string;
    readonly user_agent_name: string;
    readonly user_agent_version?: string;
    readonly metadata: StructMessage;
  };
  readonly generic_xds_configs: readonly GenericXdsConfig[];
  /** The newest stream of this process; empty: none yet. */
  readonly client_scope: string;
};

type GenericXdsConfig = {
  readonly type_url: string;
  readonly name: string;
  readonly version_info: string;
  readonly last_updated?: Timestamp;
  readonly config_status: ConfigStatus;
  readonly client_status: ClientResourceStatus;
  readonly error_state?: {
    readonly last_update_attempt: Timestamp;
    readonly details: string;
    readonly version_info: string;
  };
};

export type Timestamp = { readonly seconds: number; readonly nanos: number };

/** google.protobuf.Struct, whose fields protobufjs names in camel case. */
export type StructMessage = { readonly fields: { readonly [key: string]: ValueMessage } };
export type ValueMessage =
  | { readonly nullValue: 0 }
  | { readonly boolValue: boolean }
  | { readonly numberValue: number }
  | { readonly stringValue: string }
  | { readonly structValue: StructMessage }
  | { readonly listValue: { readonly values: readonly ValueMessage[] } };

export type NodeMatcher = {
  readonly node_id: StringMatcher | null;
  readonly node_metadatas: readonly StructMatcher[];
};

/** `match_pattern` says which one is set. */
export type StringMatcher = { readonly ignore_case: boolean } & (
  | { readonly match_pattern: "exact"; readonly exact: string }
  | { readonly match_pattern: "prefix"; readonly prefix: string }
  | { readonly match_pattern: "suffix"; readonly suffix: string }
  | { readonly match_pattern: "contains"; readonly contains: string }
  | { readonly match_pattern: "safe_regex"; readonly safe_regex: { readonly regex: string } }
  | Unset
);

export type StructMatcher = {
  readonly path: readonly { readonly key?: string }[];
  readonly value: ValueMatcher | null;
};

export type ValueMatcher =
  | { readonly match_pattern: "null_match" }
  | { readonly match_pattern: "double_match"; readonly double_match: DoubleMatcher }
  | { readonly match_pattern: "string_match"; readonly string_match: StringMatcher }
  | { readonly match_pattern: "bool_match"; readonly bool_match: boolean }
  | { readonly match_pattern: "present_match"; readonly present_match: boolean }
  | { readonly match_pattern: "list_match"; readonly list_match: ListMatcher }
  | {
      readonly match_pattern: "or_match";
      readonly or_match: { readonly value_matchers: readonly ValueMatcher[] };
    }
  | Unset;

type DoubleMatcher =
  | { readonly match_pattern: "exact"; readonly exact: number }
  | { readonly match_pattern: "range"; readonly range: { readonly start: number; readonly end: number } }
  | Unset;

type ListMatcher = { readonly match_pattern: "one_of"; readonly one_of: ValueMatcher } | Unset;

type Unset = { readonly match_pattern?: undefined };
