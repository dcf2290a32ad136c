/**
 * Descriptors that clients of reflection can link. Those that protobufjs writes name types relatively, no file imports
 * another (grpc-node #2595), and map entries are named after its own manner: Go's clients, grpcurl among them, refuse all three.
 */

import type { PackageDefinition } from "@grpc/proto-loader";
import descriptor, { type IDescriptorProto, type IFileDescriptorProto } from "protobufjs/ext/descriptor/index.js";

const { FileDescriptorProto } = descriptor;

type Visit = (message: IDescriptorProto, fullName: string) => void;

/** All that a package describes, each file once and in a form that links; to be given to `ReflectionService`. */
export function linkable(definitions: PackageDefinition): PackageDefinition {
  const files = new Map<string, IFileDescriptorProto>();
  for (const { fileDescriptorProtos } of Object.values(definitions)) {
    if (!Array.isArray(fileDescriptorProtos)) continue;
    for (const bytes of fileDescriptorProtos) {
      const file: IFileDescriptorProto = FileDescriptorProto.toObject(FileDescriptorProto.decode(bytes));
      files.set(file.name ?? "", file);
    }
  }
  for (const file of files.values()) eachMessage(file, nameMapEntries);
  const homes = new Map<string, string>();
  for (const [name, file] of files) {
    eachMessage(file, (message, fullName) => {
      homes.set(fullName, name);
      for (const nested of message.enumType ?? []) homes.set(`${fullName}.${nested.name}`, name);
    });
    for (const { name: top } of file.enumType ?? []) homes.set(`${file.package}.${top}`, name);
  }
  for (const [name, file] of files) link(name, file, homes);
  const fileDescriptorProtos = [...files.values()].map((file) =>
    Buffer.from(FileDescriptorProto.encode(FileDescriptorProto.fromObject(file)).finish()),
  );
  return { all: { type: {}, format: "Protocol Buffer 3 EnumDescriptorProto", fileDescriptorProtos } };
}

/** descriptor.proto: the entry of `map<K, V> some_name` is `SomeNameEntry`. */
function nameMapEntries(message: IDescriptorProto): void {
  for (const nested of message.nestedType ?? []) {
    if (nested.options?.mapEntry !== true) continue;
    const field = message.field?.find(({ typeName }) => typeName === nested.name);
    const name = `${(field?.name ?? "").replace(/(?:^|_)([a-z0-9])/g, (_match, letter: string) => letter.toUpperCase())}Entry`;
    if (field !== undefined) field.typeName = name;
    nested.name = name;
  }
}

/** Qualifies the names of types, and imports the files that hold them. */
function link(name: string, file: IFileDescriptorProto, homes: ReadonlyMap<string, string>): void {
  const imports = new Set<string>();
  const qualified = (type: string, scope: string): string => {
    for (let within = scope; ; within = within.slice(0, Math.max(0, within.lastIndexOf(".")))) {
      const candidate = within === "" ? type.replace(/^\./, "") : `${within}.${type}`;
      const home = homes.get(candidate);
      if (home !== undefined) {
        if (home !== name) imports.add(home);
        return `.${candidate}`;
      }
      if (within === "") throw new Error(`${type}, named in ${scope}, is in no .proto file`);
    }
  };
  eachMessage(file, (message, fullName) => {
    for (const field of message.field ?? []) if (field.typeName) field.typeName = qualified(field.typeName, fullName);
  });
  for (const { method } of file.service ?? []) {
    for (const rpc of method ?? []) {
      rpc.inputType = qualified(rpc.inputType ?? "", file.package ?? "");
      rpc.outputType = qualified(rpc.outputType ?? "", file.package ?? "");
    }
  }
  file.dependency = [...imports];
}

function eachMessage(file: IFileDescriptorProto, visit: Visit): void {
  const walk = (message: IDescriptorProto, scope: string) => {
    const fullName = `${scope}.${message.name}`;
    visit(message, fullName);
    for (const nested of message.nestedType ?? []) walk(nested, fullName);
  };
  for (const message of file.messageType ?? []) walk(message, file.package ?? "");
}
