# Highwater's worker. Build: docker build -t highwater:0.1.0 .   Run: see docs/deploying.md.
# Every RUN and COPY is run without Docker by test/long/container.test.ts: keep them plain.

FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
# Obeys the lock file. Not `npm ci`: that refuses one that lacks another platform's optional packages.
RUN npm install --no-save --no-audit --no-fund --loglevel=error
COPY tsconfig.json tsconfig.build.json ./
COPY scripts ./scripts
COPY src ./src
RUN npm run build
# The image holds the optional packages too: buckets, traces, secret managers.
RUN node scripts/keep-optional.mjs
RUN npm prune --omit=dev --no-save --no-audit --no-fund --loglevel=error

FROM node:24-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
# What a worker writes: DuckDB files, and beside them what waits to be written.
RUN mkdir -p /data && chown node:node /data
VOLUME /data
WORKDIR /data
USER node
ENV HIGHWATER_HOME=/data/.highwater HIGHWATER_DESTINATION=/data/highwater.duckdb
ENV HIGHWATER_HEALTH_PORT=8080 HIGHWATER_GRACE=30
# Those who start workflows may use what is listed here, and nothing else of the container: docs/security.md.
ENV HIGHWATER_TRUST=none HIGHWATER_ALLOW_ENV=HW_*
ENV HIGHWATER_SECRETS=/etc/highwater/secrets HIGHWATER_HOOKS=/etc/highwater/hooks
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + process.env.HIGHWATER_HEALTH_PORT + '/healthz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# Node itself is process 1: signals reach it, and nothing stands between.
ENTRYPOINT ["node", "/app/dist/cli.js"]
CMD ["worker"]
