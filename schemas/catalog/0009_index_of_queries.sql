-- Queries by a part of an id, by a modality, and by nothing but the order of results. The building of an
-- index lets everybody read, and writers wait: what needs a lock on the table comes last.
CREATE INDEX study_by_part_of_patient_id ON study USING gin (patient_id gin_trgm_ops);
CREATE INDEX study_by_part_of_accession ON study USING gin (accession_number gin_trgm_ops);
CREATE INDEX study_by_modality ON study USING gin (modalities);

-- True if the study has a shown instance. A column of its own, because the counts change with every batch: were they in
-- an index, or in its condition, every change would be a new entry in all indexes of the table. The database keeps it,
-- so that writers of the release before do so too. No row is rewritten for it, save those that are not shown.
ALTER TABLE study ADD COLUMN is_shown boolean NOT NULL DEFAULT true;
CREATE FUNCTION set_is_shown() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN NEW.is_shown := NEW.instances > 0; RETURN NEW; END';
CREATE TRIGGER is_shown BEFORE INSERT OR UPDATE ON study
    FOR EACH ROW WHEN (NEW.is_shown <> (NEW.instances > 0)) EXECUTE FUNCTION set_is_shown();
-- The owner sees no row while row-level security is forced.
ALTER TABLE study NO FORCE ROW LEVEL SECURITY;
UPDATE study SET is_shown = false WHERE instances = 0;
ALTER TABLE study FORCE ROW LEVEL SECURITY;
-- All that a count of shown studies reads. study_by_date stays for the readers of the release before.
CREATE INDEX study_in_order ON study (tenant, study_date DESC NULLS LAST, study_uid) WHERE is_shown;
