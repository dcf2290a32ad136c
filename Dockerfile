# test/packaging/dockerfile.test.ts runs the commands of the build stage in a clean folder, and starts what the final
# stage would start.
# Not 24.21.0, which never frees the certificate of a TLS client (about 4 KB for each connection). So Node comes with us.
FROM node:24.20.0-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY bin ./bin
COPY proto ./proto
COPY src ./src
RUN npm run build
RUN npm prune --omit=dev
# The final image has no shell, so the data directory and its owner come from here.
RUN mkdir data

# Holds the libraries that Node needs, and nothing else. Its user is nonroot (65532).
FROM gcr.io/distroless/cc-debian13:nonroot
COPY --from=build /usr/local/bin/node /nodejs/bin/node
WORKDIR /app
ENV NODE_ENV=production
ENV MESHROOT_BIND=0.0.0.0
ENV MESHROOT_DATA_DIR=/data
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/package.json ./package.json
COPY --from=build /app/bin ./bin
COPY --from=build /app/proto ./proto
COPY --from=build /app/dist ./dist
COPY --from=build --chown=65532:65532 /app/data /data
VOLUME /data
# xDS (mTLS), HTTP (health, metrics), gRPC health
EXPOSE 15128 9091 15129
USER 65532:65532
ENTRYPOINT ["/nodejs/bin/node"]
# SIGUSR1 opens no inspector: until our own handler is there, by Node's flag.
CMD ["--disable-sigusr1", "bin/meshroot.js", "serve"]
