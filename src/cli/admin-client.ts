/** Talks to a running standalone server through the socket file in its data directory. */

import { request } from "node:http";
import type { OperatorAnswer, OperatorRequest } from "../controller/operator.ts";
import type { MeshStatus } from "../controller/status.ts";
import { ERROR_CODES, type ErrorCode, MeshrootError } from "../core/errors.ts";
import type { BootstrapAnswer, BootstrapRequest, ErrorAnswer } from "../serve/admin-api.ts";
import { adminSocketPath } from "../serve/admin-sockets.ts";

/** Undefined where no server runs on this data directory. */
export function serverStatus(dataDir: string): Promise<MeshStatus | undefined> {
  return ask<MeshStatus>(dataDir, "GET", "/v1/status");
}

export function requestBootstrap(dataDir: string, body: BootstrapRequest): Promise<BootstrapAnswer | undefined> {
  return ask<BootstrapAnswer>(dataDir, "POST", "/v1/bootstrap", body);
}

export function requestOperation(dataDir: string, body: OperatorRequest): Promise<OperatorAnswer | undefined> {
  return ask<OperatorAnswer>(dataDir, "POST", "/v1/operator", body);
}

function ask<T>(dataDir: string, method: string, path: string, body?: object): Promise<T | undefined> {
  const socketPath = adminSocketPath(dataDir);
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, method, path, headers: { "content-type": "application/json" } }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => {
        const answer = jsonOf(Buffer.concat(chunks).toString("utf8"));
        if (answer === undefined) return reject(notUnderstood(socketPath, response.statusCode));
        if (response.statusCode === 200) return resolve(answer as T);
        const { code, message, hint } = answer as ErrorAnswer;
        reject(new MeshrootError(code in ERROR_CODES ? (code as ErrorCode) : "MR5004", message, hint));
      });
    });
    call.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT" || error.code === "ECONNREFUSED") return resolve(undefined);
      reject(
        new MeshrootError(
          "MR5004",
          `the server at ${socketPath} does not answer: ${error.message}`,
          "Check that it runs and that you may use its data directory.",
        ),
      );
    });
    call.setTimeout(10_000, () => call.destroy(new Error("no answer within 10 s")));
    call.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function notUnderstood(socketPath: string, status: number | undefined): MeshrootError {
  return new MeshrootError(
    "MR5004",
    `the server at ${socketPath} does not understand the question (HTTP ${status ?? "?"})`,
    "Use the meshroot version that the server runs, or restart the server with this one.",
  );
}
