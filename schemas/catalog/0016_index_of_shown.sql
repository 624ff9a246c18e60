-- Instances are counted by an index alone, of a study and of all: no other index knows which are shown. `is_shown` changes
-- with a deletion, whose new rows have no room on their pages in any case, and so are new entries in all indexes.
CREATE INDEX instance_shown ON instance (tenant, study_uid) WHERE is_shown;
