-- The progress of the catalog job, in the transactions that apply its records: a database that is restored from a backup
-- brings the progress that belongs to its rows. `shards` is the job's number of shards, since each number divides the
-- records otherwise. A topic that was deleted and created again has a new id, and its offsets begin again.

-- Every record of the shard up to this offset is in the tables, or was rejected.
CREATE TABLE applied_offset (
    shards    integer NOT NULL,
    shard     integer NOT NULL,
    topic     text    NOT NULL,
    topic_id  text    NOT NULL,
    "partition" integer NOT NULL,
    "offset"  bigint  NOT NULL,
    PRIMARY KEY (shards, shard, topic, topic_id, "partition")
) WITH (fillfactor = 50);

-- Dues that wait until the record of instance-stored at this position is applied.
CREATE TABLE waiting_due (
    shards    integer NOT NULL,
    shard     integer NOT NULL,
    event_id  uuid    NOT NULL,
    topic_id  text    NOT NULL,
    "partition" integer NOT NULL,
    "offset"  bigint  NOT NULL,
    event     bytea   NOT NULL,     -- the study-due as Avro
    PRIMARY KEY (shards, shard, event_id)
);
CREATE INDEX waiting_due_by_position ON waiting_due (shards, shard, topic_id, "partition", "offset");

-- Every revision of the shard up to this version was announced, unless the job was killed before it sent it; its state
-- then knows a lower one. `went_back` says that rows were behind what the job had committed: it must begin again here.
CREATE TABLE shard_progress (
    shards    integer NOT NULL,
    shard     integer NOT NULL,
    announced bigint  NOT NULL DEFAULT 0,
    went_back boolean NOT NULL DEFAULT false,
    PRIMARY KEY (shards, shard)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON applied_offset, waiting_due, shard_progress TO writer;
-- After a restore the versions must rise above those that the lost rows had.
GRANT UPDATE ON SEQUENCE version_seq TO writer;
