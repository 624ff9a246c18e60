-- What was refused at a door and is kept aside in the bucket fluoro-quarantine, for an operator to look at.

CREATE TABLE quarantine (
    tenant      text        NOT NULL,
    data_hash   text        NOT NULL,
    state       text        NOT NULL CHECK (state IN ('held', 'released', 'discarded')),
    reason      text        NOT NULL,
    object_key  text        NOT NULL,
    size_bytes  bigint      NOT NULL,
    prefix_hash text        NOT NULL,
    origin      text        NOT NULL,
    transfer_id text        NOT NULL,
    calling_ae  text        NOT NULL,
    called_ae   text        NOT NULL,
    received_at timestamptz NOT NULL,
    -- The greatest (stored_at, occurred_at, event_id) gives the row: what is kept once more, after it was let go, is held
    -- whatever the clock said of who let it go.
    stored_at   timestamptz NOT NULL,
    until       timestamptz NOT NULL,       -- the bucket's lifecycle rule removes the object not before
    occurred_at timestamptz NOT NULL,
    event_id    uuid        NOT NULL,
    PRIMARY KEY (tenant, data_hash)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON quarantine TO writer;
GRANT SELECT ON quarantine TO reader;
ALTER TABLE quarantine ENABLE ROW LEVEL SECURITY;
ALTER TABLE quarantine FORCE ROW LEVEL SECURITY;
CREATE POLICY written ON quarantine TO writer USING (true) WITH CHECK (true);
CREATE POLICY read ON quarantine FOR SELECT TO reader USING (tenant = current_setting('fluoro.tenant', true));
