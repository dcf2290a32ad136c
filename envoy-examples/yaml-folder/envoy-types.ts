/** Envoy's messages for protobuf-es, made from the .proto files that the package @grpc/grpc-js-xds ships. */

import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { create, createFileRegistry, type FileRegistry, type MessageInitShape } from "@bufbuild/protobuf";
import * as wkt from "@bufbuild/protobuf/wkt";
import protobuf from "protobufjs";

const DEPS = join(dirname(createRequire(import.meta.url).resolve("@grpc/grpc-js-xds/package.json")), "deps");
const FOLDERS = ["envoy-api", "xds", "googleapis"].map((name) => join(DEPS, name));
/** Options for code generators and validators: nothing that goes over the wire. */
const ANNOTATIONS = /^(udpa|xds|envoy)\/annotations\/|^validate\/|^google\/api\/|^google\/protobuf\/descriptor/;

/** Protobuf's own messages, which protobuf-es brings with it. */
const BUILT_IN: ReadonlyMap<string, wkt.FileDescriptorProto> = new Map(
  [
    wkt.file_google_protobuf_any,
    wkt.file_google_protobuf_duration,
    wkt.file_google_protobuf_empty,
    wkt.file_google_protobuf_struct,
    wkt.file_google_protobuf_timestamp,
    wkt.file_google_protobuf_wrappers,
  ].map(({ proto }) => [proto.name, proto]),
);

/**
 * Every message of these .proto files and of what they import, with protobuf-es's JSON mapping for all of it, `Any` included.
 * protobufjs reads the files; protobuf-es wants descriptors, which protobufjs can't write faithfully: hence the functions below.
 */
export function loadTypes(protoFiles: readonly string[]): FileRegistry {
  const root = new protobuf.Root();
  const seen = new Set<string>();
  /** Each file after those that it imports. */
  const describe: (() => wkt.FileDescriptorProto)[] = [];
  const load = (name: string): void => {
    if (seen.has(name)) return;
    seen.add(name);
    const builtIn = BUILT_IN.get(name);
    if (builtIn !== undefined) {
      root.addJSON(protobuf.common.get(name)?.nested ?? {});
      describe.push(() => builtIn);
      return;
    }
    const { imports, packageName } = parse(name, root);
    for (const imported of imports) load(imported);
    describe.push(() => file(name, packageName, imports, root));
  };
  for (const name of protoFiles) load(name);
  return createFileRegistry(
    create(wkt.FileDescriptorSetSchema, { file: describe.map((describeOne) => describeOne()) }),
  );
}

function parse(name: string, root: protobuf.Root) {
  const path = FOLDERS.map((folder) => join(folder, name)).find((candidate) => existsSync(candidate));
  if (path === undefined) throw new Error(`${name} is in none of ${FOLDERS.join(", ")}`);
  // What is parsed now is marked with it; protobufjs's types don't know.
  Object.assign(protobuf.parse, { filename: name });
  const parsed = protobuf.parse(readFileSync(path, "utf8"), root, { keepCase: true });
  const imports = (parsed.imports ?? []).filter((imported) => !ANNOTATIONS.test(imported));
  return { imports, packageName: parsed.package ?? "" };
}

function file(name: string, packageName: string, dependency: string[], root: protobuf.Root): wkt.FileDescriptorProto {
  const { nestedArray } = root.lookup(packageName) as protobuf.Namespace;
  const own = nestedArray.filter(({ filename }) => filename === name);
  return create(wkt.FileDescriptorProtoSchema, {
    name,
    package: packageName,
    syntax: "proto3",
    dependency,
    messageType: own.filter((entry) => entry instanceof protobuf.Type).map(message),
    enumType: own.filter((entry) => entry instanceof protobuf.Enum).map(enumeration),
  });
}

type MessageInit = MessageInitShape<typeof wkt.DescriptorProtoSchema>;
type FieldInit = MessageInitShape<typeof wkt.FieldDescriptorProtoSchema>;
type EnumInit = MessageInitShape<typeof wkt.EnumDescriptorProtoSchema>;

const { FieldDescriptorProto_Label: Label, FieldDescriptorProto_Type: FieldType } = wkt;

function message(type: protobuf.Type): MessageInit {
  const fields = type.fieldsArray.map((one) => one.resolve());
  // proto3's `optional` is written as a oneof with one member; those come after all real ones.
  const oneofs = type.oneofsArray.toSorted((a, b) => Number(isOptional(a)) - Number(isOptional(b)));
  return {
    name: type.name,
    field: fields.map((one) => ({
      ...(one instanceof protobuf.MapField
        ? { type: FieldType.MESSAGE, typeName: `${type.fullName}.${entryName(one)}` }
        : kind(one)),
      name: one.name,
      number: one.id,
      label: one.repeated || one.map ? Label.REPEATED : Label.OPTIONAL,
      ...(one.partOf ? { oneofIndex: oneofs.indexOf(one.partOf), proto3Optional: isOptional(one.partOf) } : {}),
    })),
    oneofDecl: oneofs.map(({ name }) => ({ name })),
    nestedType: [
      ...type.nestedArray.filter((entry) => entry instanceof protobuf.Type).map(message),
      ...fields.filter((one) => one instanceof protobuf.MapField).map(mapEntry),
    ],
    enumType: type.nestedArray.filter((entry) => entry instanceof protobuf.Enum).map(enumeration),
  };
}

function mapEntry(map: protobuf.MapField): MessageInit {
  const key = { name: "key", number: 1, label: Label.OPTIONAL, type: scalar(map.keyType) };
  const value = { name: "value", number: 2, label: Label.OPTIONAL, ...kind(map) };
  return { name: entryName(map), field: [key, value], options: { mapEntry: true } };
}

function entryName({ name }: protobuf.MapField): string {
  return `${protobuf.util.ucFirst(protobuf.util.camelCase(name))}Entry`;
}

function enumeration({ name, values }: protobuf.Enum): EnumInit {
  return { name, value: Object.entries(values).map(([key, number]) => ({ name: key, number })) };
}

function kind({ type, resolvedType }: Pick<protobuf.FieldBase, "type" | "resolvedType">): FieldInit {
  if (resolvedType === null) return { type: scalar(type) };
  return {
    type: resolvedType instanceof protobuf.Enum ? FieldType.ENUM : FieldType.MESSAGE,
    typeName: resolvedType.fullName,
  };
}

function scalar(name: string): wkt.FieldDescriptorProto_Type {
  return FieldType[name.toUpperCase() as keyof typeof FieldType];
}

function isOptional({ fieldsArray }: protobuf.OneOf): boolean {
  return fieldsArray[0]?.options?.proto3_optional === true;
}
