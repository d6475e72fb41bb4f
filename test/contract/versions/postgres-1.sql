CREATE TABLE public._highwater_batches (
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
CREATE TABLE public._highwater_checkpoints (
    schema text NOT NULL,
    "table" text NOT NULL,
    strategy text NOT NULL,
    source text NOT NULL,
    id text NOT NULL,
    cursor text,
    holder text NOT NULL,
    updated_at timestamp with time zone NOT NULL
);
CREATE TABLE public._highwater_meta (
    name text NOT NULL,
    value text NOT NULL
);
CREATE TABLE public._highwater_parents (
    schema text NOT NULL,
    "table" text NOT NULL,
    strategy text NOT NULL,
    source text NOT NULL,
    parent text NOT NULL,
    mark text NOT NULL
);
CREATE TABLE public."user" (
    id text NOT NULL,
    name text,
    "updatedAt" timestamp with time zone
);
INSERT INTO public._highwater_batches VALUES ('batch-1', 'babc5acd-3b26-489b-9dde-ec71bdb8afb9', 'public', 'user', 'keyset', 'http://source/users', '{"pass":1,"mark":{"last_updated_at":"2026-01-03T00:00:00Z"},"position":null,"ended":"no_next_token","notes":[]}', 'users', 1, 3, 3, '2026-11-23 23:39:11.011296+00');
INSERT INTO public._highwater_checkpoints VALUES ('public', 'user', 'keyset', 'http://source/users', 'batch-1', '{"pass":1,"mark":{"last_updated_at":"2026-01-03T00:00:00Z"},"position":null,"ended":"no_next_token","notes":[]}', '{"workflowId":"users","firstRunId":"chain-1","runId":"run-1","namespace":"default","cluster":"localhost:7233"}', '2026-11-23 23:39:11.011296+00');
INSERT INTO public._highwater_meta VALUES ('database', '6f6da60c-b47d-43fd-92df-a03b9d30732d');
INSERT INTO public._highwater_meta VALUES ('version', '1');
INSERT INTO public."user" VALUES ('user-1', 'name 1', '2026-01-01 00:00:00+00');
INSERT INTO public."user" VALUES ('user-2', 'name 2', '2026-01-02 00:00:00+00');
INSERT INTO public."user" VALUES ('user-3', 'name 3', '2026-01-03 00:00:00+00');
ALTER TABLE ONLY public._highwater_batches
    ADD CONSTRAINT _highwater_batches_pkey PRIMARY KEY (id, schema, "table", strategy, source);
ALTER TABLE ONLY public._highwater_checkpoints
    ADD CONSTRAINT _highwater_checkpoints_pkey PRIMARY KEY (schema, "table", strategy, source);
ALTER TABLE ONLY public._highwater_meta
    ADD CONSTRAINT _highwater_meta_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public._highwater_parents
    ADD CONSTRAINT _highwater_parents_pkey PRIMARY KEY (schema, "table", strategy, source, parent);
ALTER TABLE ONLY public."user"
    ADD CONSTRAINT user_pkey PRIMARY KEY (id);
