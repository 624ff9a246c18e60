-- What the items of Request Attributes Sequence name, for matching a series by what was ordered (PS3.18 table 10.6.3-4).

ALTER TABLE series ADD COLUMN scheduled_procedure_step_ids text[] NOT NULL DEFAULT '{}';
ALTER TABLE series ADD COLUMN requested_procedure_ids      text[] NOT NULL DEFAULT '{}';
