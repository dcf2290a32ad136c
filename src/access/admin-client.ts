/** Talks to a running standalone server through the socket file in its data directory. */

import { request } from "node:http";
import type { OperatorAnswer, OperatorRequest } from "../controller/operator.ts";
import type { MeshStatus } from "../controller/status.ts";
import { ERROR_CODES, type ErrorCode, MeshrootError } from "../core/errors.ts";
import type { MeshRoot } from "../core/roots/mesh-root.ts";
import { meshRootManifest } from "../core/roots/mesh-root-manifest.ts";
import { readAtMost } from "../runtime/read-at-most.ts";
import { ANSWERS, type AnswerSchema, errorAnswer } from "../serve/admin-answers.ts";
import type { BootstrapAnswer, BootstrapRequest } from "../serve/admin-api.ts";
import { ADMIN_SOCKET, trustedSocket } from "../serve/sockets.ts";

/** A status of 20,000 proxies has some 20 MB. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

/** In all: a server that sends a byte now and then is none. */
const ANSWER_WITHIN_MS = 30_000;

type Question = { readonly method: "GET" | "POST"; readonly path: string; readonly body?: object };

/** `MeshAccess` as far as a server answers; undefined where none runs on this data directory. */
export function socketAccess(dataDir: string) {
  return {
    status: () => serverStatus(dataDir),
    bootstrap: (request: BootstrapRequest) => requestBootstrap(dataDir, request),
    operate: (request: OperatorRequest) => requestOperation(dataDir, request),
    examine: (root: MeshRoot) => requestExamination(dataDir, root),
  };
}

/** Undefined where no server runs on this data directory, here and below. */
export function serverStatus(dataDir: string): Promise<MeshStatus | undefined> {
  return ask(dataDir, { method: "GET", path: "/v1/status" }, ANSWERS.status);
}

/** Throws MR5004 also for a credential that is not for who asked. */
export async function requestBootstrap(dataDir: string, body: BootstrapRequest): Promise<BootstrapAnswer | undefined> {
  const answer = await ask(dataDir, { method: "POST", path: "/v1/bootstrap", body }, ANSWERS.bootstrap);
  const asked = ["serviceAccount", "namespace", "kind", "uuid"] as const;
  if (answer !== undefined && asked.some((part) => body[part] !== undefined && body[part] !== answer.proxy[part]))
    throw notUnderstood(dataDir, 200);
  return answer;
}

export function requestOperation(dataDir: string, body: OperatorRequest): Promise<OperatorAnswer | undefined> {
  return ask(dataDir, { method: "POST", path: "/v1/operator", body }, ANSWERS.operator);
}

/** Throws why the server would refuse this root. */
function requestExamination(dataDir: string, root: MeshRoot): Promise<object | undefined> {
  const body = { manifest: meshRootManifest(root) };
  return ask(dataDir, { method: "POST", path: "/v1/examine-root", body }, ANSWERS.examination);
}

async function ask<Answer>(
  dataDir: string,
  question: Question,
  schema: AnswerSchema<Answer>,
): Promise<Answer | undefined> {
  const socketPath = await trustedSocket(dataDir, ADMIN_SOCKET);
  if (socketPath === undefined) return undefined;
  const answer = await exchange(socketPath, question);
  if (answer === undefined) return undefined;
  const value = jsonOf(answer.text);
  if (answer.status === 200) {
    const believed = schema.parse(value);
    if (believed === undefined) throw notUnderstood(socketPath, answer.status);
    return believed;
  }
  const error = errorAnswer.safeParse(value).data;
  if (error === undefined) throw notUnderstood(socketPath, answer.status);
  const { code, message, hint } = error;
  throw new MeshrootError(Object.hasOwn(ERROR_CODES, code) ? (code as ErrorCode) : "MR5004", message, hint);
}

type Exchanged = { readonly status: number | undefined; readonly text: string };

/** Undefined where nobody listens: a socket file that a killed server left. */
function exchange(socketPath: string, { method, path, body }: Question): Promise<Exchanged | undefined> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT" || error.code === "ECONNREFUSED") return resolve(undefined);
      reject(
        new MeshrootError(
          "MR5004",
          `the server at ${socketPath} does not answer: ${error.message}`,
          "Check that it runs and that you may use its data directory.",
        ),
      );
    };
    const call = request({ socketPath, method, path, headers: { "content-type": "application/json" } }, (response) => {
      readAtMost(response, MAX_ANSWER_BYTES, `its answer is longer than ${MAX_ANSWER_BYTES / 1024 / 1024} MiB`).then(
        (bytes) => resolve({ status: response.statusCode, text: bytes.toString("utf8") }),
        fail,
      );
    });
    call.on("error", fail);
    const deadline = setTimeout(() => call.destroy(new Error("no answer within 30 s")), ANSWER_WITHIN_MS);
    call.on("close", () => clearTimeout(deadline));
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
