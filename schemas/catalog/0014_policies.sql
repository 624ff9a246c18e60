-- The policies in force: of each, the version with the greatest number. Rebuilt from the topic policy-changed, or from the
-- policies' objects, in any order.
CREATE TABLE policy (
    tenant      text        NOT NULL,
    kind        text        NOT NULL,
    name        text        NOT NULL,
    version     integer     NOT NULL,
    rules       json        NOT NULL,     -- as policy-changed has them; [] of one that decides nothing any more
    who         text        NOT NULL,
    why         text        NOT NULL,
    occurred_at timestamptz NOT NULL,
    event_id    uuid        NOT NULL,
    PRIMARY KEY (tenant, kind, name)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON policy TO writer;
GRANT SELECT ON policy TO reader;
ALTER TABLE policy ENABLE ROW LEVEL SECURITY;
ALTER TABLE policy FORCE ROW LEVEL SECURITY;
CREATE POLICY written ON policy TO writer USING (true) WITH CHECK (true);
CREATE POLICY read ON policy FOR SELECT TO reader USING (tenant = current_setting('fluoro.tenant', true));
