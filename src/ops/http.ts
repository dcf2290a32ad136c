/** HTTP for machines: health, version, metrics. Answers nothing secret and changes nothing. */

import { createServer, type Server } from "node:http";
import { getRequestListener } from "@hono/node-server";
import { Hono } from "hono";
import { formatHostPort } from "../core/address.ts";
import { cannotListen, listenHints } from "../core/errors.ts";
import { type Door, keepDoor } from "./keep-door.ts";
import type { Metrics } from "./metrics.ts";

export type HttpDeps = {
  readonly version: string;
  readonly metrics: Metrics;
  /** Refreshes the gauges before they are read. */
  readonly collect: () => void;
  /** Undefined when ready, else why not. */
  readonly notReady: () => string | undefined;
};

export function httpApp(deps: HttpDeps): Hono {
  const app = new Hono();
  app.get("/health/alive", (context) => context.text("ok\n"));
  app.get("/health/ready", (context) => {
    const reason = deps.notReady();
    return reason === undefined ? context.text("ok\n") : context.text(`${reason}\n`, 503);
  });
  app.get("/healthz", (context) => context.redirect("/health/alive"));
  app.get("/version", (context) => context.json({ version: deps.version, node: process.versions.node }));
  app.get("/metrics", async (context) => {
    deps.collect();
    return context.text(await deps.metrics.registry.metrics(), 200, {
      "content-type": deps.metrics.registry.contentType,
    });
  });
  app.notFound((context) => context.text("not found: try /health/ready, /health/alive, /version, /metrics\n", 404));
  return app;
}

/** For a request of a line or two. Node looks for those that are overdue once a second. */
const TIMEOUTS = {
  headersTimeout: 5_000,
  requestTimeout: 10_000,
  keepAliveTimeout: 5_000,
  connectionsCheckingInterval: 1_000,
};
const IDLE_MS = 30_000;

/** Serves an app on an address, or on a socket file. Throws MR5003 when it is taken. */
export function serveHttp(
  app: Hono,
  where: { host: string; port: number } | { path: string },
  flag: string,
  door: Door = {},
): Promise<{ server: Server; port: number }> {
  const server = createServer(TIMEOUTS, getRequestListener(app.fetch));
  // Also of an answer that nobody reads.
  server.setTimeout(IDLE_MS);
  keepDoor(server, door);
  return new Promise((resolve, reject) => {
    const name = "path" in where ? where.path : formatHostPort(where.host, where.port);
    server.once("error", (error: NodeJS.ErrnoException) => {
      reject(cannotListen("HTTP", name, error.code ?? error.message, listenHints(flag), error));
    });
    server.listen(where, () => {
      const address = server.address();
      resolve({ server, port: typeof address === "object" && address !== null ? address.port : 0 });
    });
  });
}

export function closeHttp(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
