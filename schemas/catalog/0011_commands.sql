-- What people have asked for, and what is in force because of it. Rebuilt from the topic study-command, or from the
-- commands' objects, in any order.

-- Every command, for a study's history.
CREATE TABLE command (
    tenant      text        NOT NULL,
    study_uid   text        NOT NULL,
    command_id  uuid        NOT NULL,
    action      text        NOT NULL,
    who         text        NOT NULL,
    why         text        NOT NULL,
    occurred_at timestamptz NOT NULL,
    arguments   json        NOT NULL,     -- of expect and choose
    PRIMARY KEY (tenant, study_uid, command_id)
);

-- What was decided last: about a study (deletion, hold), or about one content of an instance (choice). The greatest
-- (occurred_at, command_id) gives the row, which is there before the study's first instance, and outlives every replay.
CREATE TABLE decision (
    tenant      text        NOT NULL,
    study_uid   text        NOT NULL,
    sop_uid     text        NOT NULL,     -- empty unless it is a choice, as the data hash
    subject     text        NOT NULL CHECK (subject IN ('deletion', 'hold', 'choice')),
    data_hash   text        NOT NULL,
    in_force    boolean     NOT NULL,
    occurred_at timestamptz NOT NULL,
    command_id  uuid        NOT NULL,
    instance    bytea,                    -- of a choice: the instance-stored of the content as Avro
    PRIMARY KEY (tenant, study_uid, sop_uid, subject, data_hash)
);

-- Every due that was applied, for a study's history; `revision` is the one that it made, if any.
CREATE TABLE due (
    tenant           text        NOT NULL,
    study_uid        text        NOT NULL,
    event_id         uuid        NOT NULL,
    signal           text        NOT NULL,
    due_at           timestamptz NOT NULL,
    window_opened_at timestamptz NOT NULL,
    window_instances integer     NOT NULL,
    window_transfers integer     NOT NULL,
    revision         integer,
    PRIMARY KEY (tenant, study_uid, event_id)
);

-- A due may wait for a command too: for one record at a time.
ALTER TABLE waiting_due ADD COLUMN topic text NOT NULL DEFAULT 'instance-stored';

-- The command because of which the revision was announced again, under a new version.
ALTER TABLE revision ADD COLUMN again uuid;

GRANT SELECT, INSERT, UPDATE, DELETE ON command, decision, due TO writer;
GRANT SELECT ON command, decision, due TO reader;
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['command', 'decision', 'due'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY written ON %I TO writer USING (true) WITH CHECK (true)', name);
        EXECUTE format('CREATE POLICY read ON %I FOR SELECT TO reader USING (tenant = current_setting(''fluoro.tenant'', true))', name);
    END LOOP;
END $$;
