/** Our .proto files and Envoy's, as protobufjs reads them: the oracle of the codec's tests. */

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, isAbsolute, join } from "node:path";
import protobuf from "protobufjs";
import { PROTO_DIRECTORY, PROTO_FILES } from "./discovery-services.ts";

const require = createRequire(import.meta.url);
const ENVOY = join(dirname(require.resolve("@grpc/grpc-js-xds/package.json")), "deps");
const PROTOBUFJS = dirname(require.resolve("protobufjs/package.json"));

/** Fields keep their names as written. */
export function loadOurProtos(): protobuf.Root {
  return load([PROTO_DIRECTORY]);
}

/** The same files as Envoy publishes them, from the package @grpc/grpc-js-xds. */
export function loadEnvoyProtos(): protobuf.Root {
  return load([
    ...["envoy-api", "googleapis", "protoc-gen-validate", "xds"].map((name) => join(ENVOY, name)),
    PROTOBUFJS,
  ]);
}

function load(folders: readonly string[]): protobuf.Root {
  const root = new protobuf.Root();
  root.resolvePath = (_origin, target) => {
    if (isAbsolute(target) || protobuf.common.get(target) !== null) return target;
    const found = folders.map((folder) => join(folder, target)).find((path) => existsSync(path));
    if (found === undefined) throw new Error(`${target} is in none of ${folders.join(", ")}`);
    return found;
  };
  root.loadSync([...PROTO_FILES], { keepCase: true });
  root.resolveAll();
  return root;
}

/** A message as protobufjs encodes it; field names as in the .proto file. */
export function written(type: protobuf.Type, fields: object): Buffer {
  return Buffer.from(type.encode(type.fromObject(fields)).finish());
}

/** A message as protobufjs decodes it, with every default filled in. */
export function read(type: protobuf.Type, bytes: Buffer): Record<string, unknown> {
  return type.toObject(type.decode(bytes), { defaults: true, enums: String });
}
