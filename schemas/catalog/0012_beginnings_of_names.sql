-- Names by their beginning: an index on trigrams reads the lists of all of them, which hold every Smith of the archive.
CREATE INDEX study_by_beginning_of_name ON study (tenant, patient_name_folded text_pattern_ops) WHERE is_shown;
-- The same beginning may be that of a later component group (PS3.5 6.2.1.2), which few names have.
CREATE INDEX study_by_group_of_name ON study USING gin (patient_name_folded gin_trgm_ops)
    WITH (gin_pending_list_limit = 64) WHERE patient_name_folded LIKE '%=%';
-- With 100 buckets each beginning that meets a bound of one counts as a hundredth of all studies.
ALTER TABLE study ALTER COLUMN patient_name_folded SET STATISTICS 400;
