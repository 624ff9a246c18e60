-- What the history of a study reads: its transfers, and what of these is or was in quarantine.
CREATE INDEX transfer_by_study ON transfer (tenant, study_uid);
CREATE INDEX quarantine_by_transfer ON quarantine (tenant, transfer_id);
