# test/packaging/dockerfile.test.ts runs the commands of the build stage in a clean folder, and starts what the final
# stage would start.
FROM node:24-slim AS build
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

# Holds Node, certificates and nothing else. Its entry point is node, its user nonroot (65532).
FROM gcr.io/distroless/nodejs24-debian13:nonroot
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
CMD ["bin/meshroot.js", "serve"]
