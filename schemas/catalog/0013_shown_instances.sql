-- True unless the instance's study is deleted, as study.is_shown: a retrieval that had to ask another table for it took
-- twice as long. Who deletes and restores a study writes it; no row is rewritten for it now.
ALTER TABLE instance ADD COLUMN is_shown boolean NOT NULL DEFAULT true;

-- The owner sees no row while row-level security is forced.
ALTER TABLE instance NO FORCE ROW LEVEL SECURITY;
ALTER TABLE decision NO FORCE ROW LEVEL SECURITY;
UPDATE instance SET is_shown = false FROM decision
    WHERE decision.tenant = instance.tenant AND decision.study_uid = instance.study_uid
      AND decision.subject = 'deletion' AND decision.in_force;
ALTER TABLE instance FORCE ROW LEVEL SECURITY;
ALTER TABLE decision FORCE ROW LEVEL SECURITY;
