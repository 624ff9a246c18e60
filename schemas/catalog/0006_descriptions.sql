-- Descriptions as queries match them: without case, folded by the writer as names are. Rows that are there get the
-- database's lower case, which is the same for nearly all letters; the writer's fold of them comes with the next rebuild.
-- The owner sees no row while row-level security is forced; nobody else sees the tables during this transaction.
ALTER TABLE study ADD COLUMN study_description_folded text;
ALTER TABLE study NO FORCE ROW LEVEL SECURITY;
UPDATE study SET study_description_folded = lower(study_description) WHERE study_description IS NOT NULL;
ALTER TABLE study FORCE ROW LEVEL SECURITY;
CREATE INDEX study_by_description ON study USING gin (study_description_folded gin_trgm_ops);

ALTER TABLE series ADD COLUMN series_description_folded text;
ALTER TABLE series NO FORCE ROW LEVEL SECURITY;
UPDATE series SET series_description_folded = lower(series_description) WHERE series_description IS NOT NULL;
ALTER TABLE series FORCE ROW LEVEL SECURITY;
CREATE INDEX series_by_description ON series USING gin (series_description_folded gin_trgm_ops);
