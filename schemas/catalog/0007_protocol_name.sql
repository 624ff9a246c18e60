-- The protocol of a series, matched without case as its description. Series that are there get theirs with the next rebuild.
ALTER TABLE series ADD COLUMN protocol_name text;
ALTER TABLE series ADD COLUMN protocol_name_folded text;
CREATE INDEX series_by_protocol ON series USING gin (protocol_name_folded gin_trgm_ops);
