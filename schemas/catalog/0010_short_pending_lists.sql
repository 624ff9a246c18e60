-- What is new in a trigram index waits in a list, which every search reads from end to end, until the list is as long as
-- this (in kB; it was 4 MB) or somebody vacuums. A writer that finds the list full sorts it into the index.
ALTER INDEX study_by_name SET (gin_pending_list_limit = 64);
ALTER INDEX study_by_description SET (gin_pending_list_limit = 64);
ALTER INDEX study_by_part_of_patient_id SET (gin_pending_list_limit = 64);
ALTER INDEX study_by_part_of_accession SET (gin_pending_list_limit = 64);
ALTER INDEX study_by_modality SET (gin_pending_list_limit = 64);
ALTER INDEX series_by_description SET (gin_pending_list_limit = 64);
ALTER INDEX series_by_protocol SET (gin_pending_list_limit = 64);
