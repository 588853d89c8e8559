-- The outbox table, plain or in monthly partitions (`postrider init --partitioned`). Names in braces are replaced by the
-- configured ones, quoted. {uuid} is uuidv7() from PostgreSQL 18 on, gen_random_uuid() before. {primary_key} and
-- {storage} are what the two forms differ in: a plain table has the primary key (id) and fillfactor 50; a partitioned one
-- is partitioned by range of created_at, which PostgreSQL requires in its primary key. The server then accepts an id
-- twice with different created_at, so ids have to be unique by themselves, as the default ones are.
--
-- fillfactor 50 leaves room on a row's page for its PUBLISH and COMPLETE versions. As no index contains a column that
-- changes, every such update is a HOT update. An index whose columns or predicate include a column below "written by
-- Postrider" halves the throughput.
create table if not exists {table} (
    -- written by the service, in the transaction of its business change
    {id} uuid not null default {uuid},
    {aggregate_type} text not null,
    {aggregate_id} text not null,
    {event_type} text not null,
    {payload} jsonb,
    {headers} jsonb,
    {topic} text,
    {partition_key} text,
    {created_at} timestamptz not null default now(),
    -- written by Postrider
    {status} text not null default 'INIT',
    {published_at} timestamptz,
    {completed_at} timestamptz,
    {kafka_topic} text,
    {kafka_partition} int,
    {kafka_offset} bigint,
    {attempts} int not null default 0,
    {last_attempt_at} timestamptz,
    {last_error} text,
    primary key ({primary_key})
) {storage};
-- Write-back never changes these two columns, so the index ends no HOT update. Replays, stuck rows and retention use it.
create index if not exists {created_at_index} on {table} ({created_at}, {id});
comment on table {table} is 'Transactional outbox: Postrider streams the rows inserted here to Kafka.';
comment on column {table}.{id} is 'Identifies the event, also as the record''s header id.';
comment on column {table}.{payload} is 'The record''s value, byte for byte. NULL becomes a tombstone.';
comment on column {table}.{headers} is 'Further headers of the record: a JSON object.';
comment on column {table}.{topic} is 'The record''s topic; NULL: routing.topic applies.';
comment on column {table}.{partition_key} is 'The record''s key; NULL: routing.key applies.';
comment on column {table}.{status} is 'INIT, then PUBLISH (acknowledged by the broker), then COMPLETE (consumed); or FAILED (see the last error).';
comment on column {table}.{kafka_offset} is 'The record''s offset in the topic and partition.';
comment on column {table}.{attempts} is 'How often the event was sent.';
