-- A content whose object was lost or damaged may be stored again behind another prefix: the first of its events orders it
-- among conflicting contents, the last one tells size, prefix and places of the object that is there.

-- When the object was stored that the row describes. 'epoch' in rows of before, and in those of an earlier release that
-- still runs: the next event of the content gives it. No row is rewritten for it.
ALTER TABLE instance ADD COLUMN last_stored_at timestamptz NOT NULL DEFAULT 'epoch';
ALTER TABLE conflict ADD COLUMN last_stored_at timestamptz NOT NULL DEFAULT 'epoch';

-- What a row of a conflict lacked to become the row that is shown.
ALTER TABLE conflict ADD COLUMN prefix_hash text NOT NULL DEFAULT '';
ALTER TABLE conflict ADD COLUMN origin text NOT NULL DEFAULT 'received';
