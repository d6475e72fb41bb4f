CREATE TABLE public."_highwater_batches" (
    id text NOT NULL,
    base text NOT NULL,
    schema text NOT NULL,
    "table" text NOT NULL,
    strategy text NOT NULL,
    source text NOT NULL,
    cursor text NOT NULL,
    workflow_id text NOT NULL,
    pages bigint NOT NULL,
    records bigint NOT NULL,
    rows bigint NOT NULL,
    committed_at timestamp with time zone NOT NULL
);
CREATE TABLE public."_highwater_checkpoints" (
    schema text NOT NULL,
    "table" text NOT NULL,
    strategy text NOT NULL,
    source text NOT NULL,
    id text NOT NULL,
    cursor text,
    holder text NOT NULL,
    updated_at timestamp with time zone NOT NULL
);
CREATE TABLE public."_highwater_differences" (
    schema text NOT NULL,
    "table" text NOT NULL,
    strategy text NOT NULL,
    source text NOT NULL,
    kind text NOT NULL,
    key text NOT NULL,
    repaired boolean NOT NULL,
    batch text
);
CREATE TABLE public."_highwater_fingerprints" (
    schema text NOT NULL,
    "table" text NOT NULL,
    strategy text NOT NULL,
    source text NOT NULL,
    fingerprint text NOT NULL
);
CREATE TABLE public."_highwater_meta" (
    name text NOT NULL,
    value text NOT NULL
);
CREATE TABLE public."_highwater_moves" (
    id text NOT NULL,
    base text NOT NULL,
    schema text NOT NULL,
    "table" text NOT NULL,
    strategy text NOT NULL,
    source text NOT NULL,
    cursor text,
    workflow_id text NOT NULL,
    moved text NOT NULL,
    moved_at timestamp with time zone NOT NULL
);
CREATE TABLE public."_highwater_parents" (
    schema text NOT NULL,
    "table" text NOT NULL,
    strategy text NOT NULL,
    source text NOT NULL,
    parent text NOT NULL,
    mark text NOT NULL
);
CREATE TABLE public."_highwater_rejects" (
    batch text NOT NULL,
    schema text NOT NULL,
    "table" text NOT NULL,
    strategy text NOT NULL,
    source text NOT NULL,
    reason text NOT NULL,
    record text NOT NULL,
    rejected_at timestamp with time zone NOT NULL
);
CREATE TABLE public."_highwater_schema_changes" (
    batch text NOT NULL,
    schema text NOT NULL,
    "table" text NOT NULL,
    strategy text NOT NULL,
    source text NOT NULL,
    "column" text NOT NULL,
    path text NOT NULL,
    from_type text,
    to_type text NOT NULL,
    example text NOT NULL,
    record text NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    place bigint NOT NULL GENERATED ALWAYS AS IDENTITY
);
CREATE TABLE public."_highwater_seen" (
    schema text NOT NULL,
    "table" text NOT NULL,
    strategy text NOT NULL,
    source text NOT NULL,
    pass bigint NOT NULL,
    key text
);
CREATE TABLE public."team" (
    id text NOT NULL,
    name text,
    "updatedAt" timestamp with time zone,
    _highwater_synced_at timestamp with time zone,
    _highwater_batch text
);
CREATE TABLE public."user" (
    id text NOT NULL,
    name text,
    "updatedAt" timestamp with time zone,
    _highwater_synced_at timestamp with time zone,
    _highwater_batch text
);
INSERT INTO public."_highwater_batches" (id, base, schema, "table", strategy, source, cursor, workflow_id, pages, records, rows, committed_at) VALUES ('batch-1', '9e6e4be0-94bf-4427-a841-aaf1b8edad4a', 'public', 'user', 'keyset', 'http://source/users', '{"pass":1,"mark":{"last_updated_at":"2026-01-03T00:00:00Z"},"position":null,"ended":"no_next_token","notes":[]}', 'users', '1', '3', '3', '2026-11-30 12:18:21.626434+00');
INSERT INTO public."_highwater_batches" (id, base, schema, "table", strategy, source, cursor, workflow_id, pages, records, rows, committed_at) VALUES ('team-1', 'cbc0a8f4-5ef4-4b76-b490-728068b69a72', 'public', 'team', 'keyset', '${vault:kv/api#url}/teams', '{"pass":1,"mark":{"last_updated_at":"2026-01-01T00:00:00Z"},"position":null,"ended":"no_next_token","notes":[]}', 'teams', '1', '1', '1', '2026-11-30 12:18:21.665372+00');
INSERT INTO public."_highwater_batches" (id, base, schema, "table", strategy, source, cursor, workflow_id, pages, records, rows, committed_at) VALUES ('backfill-1', '87467607-46e4-4f6e-bd3d-2ba9ac25d54b', 'public', 'user', 'keyset', 'http://source/users#backfill 2026-01-02T00:00:00Z..', '{"pass":1,"mark":{"last_updated_at":"2026-01-03T00:00:00Z"},"position":{"at":"3"},"ended":null,"notes":[]}', 'backfill', '1', '2', '1', '2026-11-30 12:18:21.686025+00');
INSERT INTO public."_highwater_batches" (id, base, schema, "table", strategy, source, cursor, workflow_id, pages, records, rows, committed_at) VALUES ('audit-1', '8a88a4ad-be68-4c2b-9023-15304804ee9d', 'public', 'user', 'keyset', 'http://source/users#audit ..', '{"pass":1,"mark":{"last_updated_at":"2026-01-03T00:00:00Z"},"position":{"at":"3"},"ended":null,"notes":[]}', 'audit', '1', '2', '0', '2026-11-30 12:18:21.716905+00');
ALTER TABLE ONLY public."_highwater_batches" ADD CONSTRAINT _highwater_batches_pkey PRIMARY KEY (id, schema, "table", strategy, source);
INSERT INTO public."_highwater_checkpoints" (schema, "table", strategy, source, id, cursor, holder, updated_at) VALUES ('public', 'user', 'keyset', 'http://source/users', 'batch-1', '{"pass":1,"mark":{"last_updated_at":"2026-01-03T00:00:00Z"},"position":null,"ended":"no_next_token","notes":[]}', '{"workflowId":"users","firstRunId":"chain-1","runId":"run-1","namespace":"default","cluster":"localhost:7233"}', '2026-11-30 12:18:21.626434+00');
INSERT INTO public."_highwater_checkpoints" (schema, "table", strategy, source, id, cursor, holder, updated_at) VALUES ('public', 'team', 'keyset', '${vault:kv/api#url}/teams', 'team-1', '{"pass":1,"mark":{"last_updated_at":"2026-01-01T00:00:00Z"},"position":null,"ended":"no_next_token","notes":[]}', '{"workflowId":"teams","firstRunId":"chain-2","runId":"run-2","namespace":"default","cluster":"localhost:7233"}', '2026-11-30 12:18:21.665372+00');
INSERT INTO public."_highwater_checkpoints" (schema, "table", strategy, source, id, cursor, holder, updated_at) VALUES ('public', 'user', 'keyset', 'http://source/users#backfill 2026-01-02T00:00:00Z..', 'backfill-1', '{"pass":1,"mark":{"last_updated_at":"2026-01-03T00:00:00Z"},"position":{"at":"3"},"ended":null,"notes":[]}', '{"workflowId":"backfill","firstRunId":"chain-backfill","runId":"run-backfill","namespace":"default","cluster":"localhost:7233"}', '2026-11-30 12:18:21.686025+00');
INSERT INTO public."_highwater_checkpoints" (schema, "table", strategy, source, id, cursor, holder, updated_at) VALUES ('public', 'user', 'keyset', 'http://source/users#audit ..', 'audit-1', '{"pass":1,"mark":{"last_updated_at":"2026-01-03T00:00:00Z"},"position":{"at":"3"},"ended":null,"notes":[]}', '{"workflowId":"audit","firstRunId":"chain-audit","runId":"run-audit","namespace":"default","cluster":"localhost:7233"}', '2026-11-30 12:18:21.716905+00');
ALTER TABLE ONLY public."_highwater_checkpoints" ADD CONSTRAINT _highwater_checkpoints_pkey PRIMARY KEY (schema, "table", strategy, source);
INSERT INTO public."_highwater_differences" (schema, "table", strategy, source, kind, key, repaired, batch) VALUES ('public', 'user', 'keyset', 'http://source/users#audit ..', 'stale', '["user-3"]', 'false', 'backfill-1');
INSERT INTO public."_highwater_fingerprints" (schema, "table", strategy, source, fingerprint) VALUES ('public', 'user', 'keyset', 'http://source/users', '{"is":{"primaryKey":["id"],"cursor":{"field":"updatedAt","format":"timestamp"},"parent":null,"columns":{"id":"id","name":"name","updatedAt":"updatedAt"},"infers":false,"where":null,"start":null,"request":{},"readsAll":false}}');
INSERT INTO public."_highwater_meta" (name, value) VALUES ('database', 'a4f4a024-f809-4806-93b5-bbae053b48c6');
INSERT INTO public."_highwater_meta" (name, value) VALUES ('version', '2');
ALTER TABLE ONLY public."_highwater_meta" ADD CONSTRAINT _highwater_meta_pkey PRIMARY KEY (name);
INSERT INTO public."_highwater_moves" (id, base, schema, "table", strategy, source, cursor, workflow_id, moved, moved_at) VALUES ('8a88a4ad-be68-4c2b-9023-15304804ee9d', '', 'public', 'user', 'keyset', 'http://source/users#audit ..', NULL, 'audit', 'started over', '2026-11-30 12:18:21.710374+00');
ALTER TABLE ONLY public."_highwater_moves" ADD CONSTRAINT _highwater_moves_pkey PRIMARY KEY (id, schema, "table", strategy, source);
ALTER TABLE ONLY public."_highwater_parents" ADD CONSTRAINT _highwater_parents_pkey PRIMARY KEY (schema, "table", strategy, source, parent);
INSERT INTO public."_highwater_seen" (schema, "table", strategy, source, pass, key) VALUES ('public', 'user', 'keyset', 'http://source/users#audit ..', '1', '["user-2"]');
INSERT INTO public."_highwater_seen" (schema, "table", strategy, source, pass, key) VALUES ('public', 'user', 'keyset', 'http://source/users#audit ..', '1', '["user-3"]');
INSERT INTO public."team" (id, name, "updatedAt", _highwater_synced_at, _highwater_batch) VALUES ('user-1', 'name 1', '2026-01-01 00:00:00+00', '2026-11-30 12:18:21.665372+00', 'team-1');
ALTER TABLE ONLY public."team" ADD CONSTRAINT team_pkey PRIMARY KEY (id);
INSERT INTO public."user" (id, name, "updatedAt", _highwater_synced_at, _highwater_batch) VALUES ('user-1', 'name 1', '2026-01-01 00:00:00+00', '2026-11-30 12:18:21.626434+00', 'batch-1');
INSERT INTO public."user" (id, name, "updatedAt", _highwater_synced_at, _highwater_batch) VALUES ('user-2', 'name 2', '2026-01-02 00:00:00+00', '2026-11-30 12:18:21.626434+00', 'batch-1');
INSERT INTO public."user" (id, name, "updatedAt", _highwater_synced_at, _highwater_batch) VALUES ('user-3', 'backfill', '2026-01-03 00:00:00+00', '2026-11-30 12:18:21.686025+00', 'backfill-1');
ALTER TABLE ONLY public."user" ADD CONSTRAINT user_pkey PRIMARY KEY (id);
