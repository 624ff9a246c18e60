-- The marks of stored objects whose bytes were found damaged: reads of ranges, which have no hash, rest on them. Written
-- and removed by the verification alone; made again by running it. Nearly always empty.
CREATE TABLE damage (
    tenant      text        NOT NULL,
    study_uid   text        NOT NULL,
    object_key  text        NOT NULL,
    tier        text        NOT NULL,
    reason      text        NOT NULL,     -- a kind of operators/integrity/comparison.py
    -- When the store took the bytes that are damaged: an object that has replaced them has another time, while equal bytes
    -- have equal tags. NULL if the store cannot tell it.
    modified_at timestamptz,
    found_at    timestamptz NOT NULL,     -- the greatest gives the row
    PRIMARY KEY (tenant, study_uid, object_key, tier)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON damage TO writer;
GRANT SELECT ON damage TO reader;
ALTER TABLE damage ENABLE ROW LEVEL SECURITY;
ALTER TABLE damage FORCE ROW LEVEL SECURITY;
CREATE POLICY written ON damage TO writer USING (true) WITH CHECK (true);
CREATE POLICY read ON damage FOR SELECT TO reader USING (tenant = current_setting('fluoro.tenant', true));
