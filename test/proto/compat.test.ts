import assert from "node:assert/strict";
import { test } from "node:test";
import protobuf from "protobufjs";
import { loadEnvoyProtos, loadOurProtos } from "../support/protos.ts";

const envoy = loadEnvoyProtos();

test("every message, field, enum and method of ours is Envoy's", () => {
  const ours = loadOurProtos();
  assert.deepEqual(differences(ours, envoy), []);
  const names = [...objects(ours)].map((object) => object.fullName);
  for (const name of [
    ".envoy.service.discovery.v3.DeltaDiscoveryRequest",
    ".envoy.service.secret.v3.SecretDiscoveryService",
    ".envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher.SanType",
    ".google.rpc.Status",
  ])
    assert.ok(names.includes(name), `${name} was compared`);
});

test("the comparison sees each kind of change", async (t) => {
  const discovery = "envoy.service.discovery.v3";
  const tls = "envoy.extensions.transport_sockets.tls.v3";
  const mutations: Record<string, (root: protobuf.Root) => void> = {
    number: (root) => {
      fieldOf(root, `${discovery}.DiscoveryRequest`, "response_nonce").id = 9;
    },
    type: (root) => {
      fieldOf(root, "google.rpc.Status", "code").type = "sint32";
    },
    "message type": (root) => {
      const field = fieldOf(root, `${tls}.TlsCertificate`, "private_key");
      field.resolvedType = root.lookupType("envoy.config.core.v3.WatchedDirectory");
    },
    label: (root) => {
      fieldOf(root, `${discovery}.DeltaDiscoveryResponse`, "removed_resources").repeated = false;
    },
    "map key": (root) => {
      const field = fieldOf(root, `${discovery}.DeltaDiscoveryRequest`, "initial_resource_versions");
      assert.ok(field instanceof protobuf.MapField);
      field.keyType = "int32";
    },
    oneof: (root) => {
      fieldOf(root, `${tls}.Secret`, "validation_context").partOf = null;
    },
    "enum number": (root) => {
      root.lookupEnum(`${tls}.SubjectAltNameMatcher.SanType`).values.URI = 7;
    },
    "field name": (root) => {
      root.lookupType("envoy.config.core.v3.Node").add(new protobuf.Field("uuid", 99, "string"));
    },
    "message name": (root) => {
      (root.lookup(discovery) as protobuf.Namespace).add(new protobuf.Type("Invented"));
    },
    streaming: (root) => {
      const method = root.lookupService(`${discovery}.AggregatedDiscoveryService`).methods.StreamAggregatedResources;
      assert.ok(method);
      method.responseStream = false;
    },
  };
  for (const [kind, mutate] of Object.entries(mutations)) {
    await t.test(kind, () => {
      const changed = loadOurProtos();
      mutate(changed);
      assert.equal(differences(changed, envoy).length, 1);
    });
  }
});

/** One line for each thing of `ours` that `theirs` lacks or has otherwise. Google's well-known types are one copy for both. */
function differences(ours: protobuf.Root, theirs: protobuf.Root): string[] {
  const found: string[] = [];
  const compare = (what: string, mine: string, yours: string | undefined) => {
    if (mine !== yours) found.push(`${what}: ours is ${mine}, Envoy's ${yours ?? "missing"}`);
  };
  for (const object of objects(ours)) {
    const other = theirs.lookup(object.fullName);
    compare(object.fullName, object.constructor.name, other?.constructor.name);
    if (object instanceof protobuf.Type && other instanceof protobuf.Type)
      for (const field of object.fieldsArray)
        compare(field.fullName, fieldText(field) ?? "", fieldText(other.fields[field.name]));
    if (object instanceof protobuf.Enum && other instanceof protobuf.Enum)
      for (const [name, number] of Object.entries(object.values))
        compare(`${object.fullName}.${name}`, `${number}`, `${other.values[name]}`);
    if (object instanceof protobuf.Service && other instanceof protobuf.Service)
      for (const method of object.methodsArray)
        compare(method.fullName, methodText(method) ?? "", methodText(other.methods[method.name]));
  }
  return found;
}

function* objects(namespace: protobuf.NamespaceBase): Generator<protobuf.ReflectionObject> {
  for (const object of namespace.nestedArray) {
    if (object.fullName === ".google.protobuf") continue;
    const isPackage = object instanceof protobuf.Namespace && object.constructor === protobuf.Namespace;
    if (!isPackage) yield object;
    if (object instanceof protobuf.Namespace) yield* objects(object);
  }
}

function fieldText(field: protobuf.Field | undefined): string | undefined {
  if (field === undefined) return undefined;
  const key = field instanceof protobuf.MapField ? `map<${field.keyType}> ` : "";
  const label = field.repeated ? "repeated " : "";
  const oneof = field.partOf === null ? "" : ` in ${field.partOf.name}`;
  return `${key}${label}${field.resolvedType?.fullName ?? field.type} = ${field.id}${oneof}`;
}

function methodText(method: protobuf.Method | undefined): string | undefined {
  if (method === undefined) return undefined;
  const side = (stream: boolean | undefined, type: protobuf.Type | null) =>
    `${stream ? "stream " : ""}${type?.fullName}`;
  return `${side(method.requestStream, method.resolvedRequestType)} -> ${side(method.responseStream, method.resolvedResponseType)}`;
}

function fieldOf(root: protobuf.Root, type: string, name: string): protobuf.Field {
  const field = root.lookupType(type).fields[name];
  assert.ok(field, `${type}.${name}`);
  return field;
}
