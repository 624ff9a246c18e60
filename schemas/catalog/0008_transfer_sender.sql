-- Where a transfer came from, how much it brought, and what of it was refused. NULL and empty in rows of before, and in
-- those of transfers that a gateway of an earlier release began.
ALTER TABLE transfer ADD COLUMN peer text NOT NULL DEFAULT '';
ALTER TABLE transfer ADD COLUMN calling_ae text NOT NULL DEFAULT '';
ALTER TABLE transfer ADD COLUMN called_ae text NOT NULL DEFAULT '';
ALTER TABLE transfer ADD COLUMN address text NOT NULL DEFAULT '';
ALTER TABLE transfer ADD COLUMN size_bytes bigint;
-- Instances of the whole transfer that were refused for good, by reason: the same in the row of each of its studies.
ALTER TABLE transfer ADD COLUMN refused jsonb NOT NULL DEFAULT '{}';

-- "What came last night?"
CREATE INDEX transfer_by_end ON transfer (ended_at);
