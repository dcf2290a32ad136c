/** A gRPC status as grpc-js takes it for the end of a call. */
export type CallError = Error & { readonly code: number; readonly details: string };

export function callError(code: number, details: string): CallError {
  return Object.assign(new Error(details), { code, details });
}
