-- The outbox table in monthly partitions, as `postrider init --partitioned` makes it; compare outbox.sql, whose
-- columns it has. A month whose rows are all COMPLETE and old enough goes as a whole, which costs nothing per row.
--
-- PostgreSQL wants the partition key in the primary key. So the server does not refuse an id that is there already
-- with another created_at: let services make ids that are unique by themselves, such as UUID v7.
create table if not exists {table} (
    -- written by the service, in the transaction of its business change
    {id} uuid not null,
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
    primary key ({id}, {created_at})
) partition by range ({created_at});
-- Write-back never changes these two, so this index costs no HOT update. Replay, stuck rows and retention page by it.
create index if not exists {created_at_index} on {table} ({created_at}, {id});
comment on table {table} is 'Transactional outbox: a row inserted here with a business change is streamed to Kafka by Postrider.';
comment on column {table}.{id} is 'Names the event, here and in the record''s header id. UUID v7 recommended.';
comment on column {table}.{payload} is 'The record''s value, byte for byte. NULL becomes a tombstone.';
comment on column {table}.{headers} is 'Further headers of the record: a JSON object.';
comment on column {table}.{topic} is 'The record''s topic; NULL: as routing.topic says.';
comment on column {table}.{partition_key} is 'The record''s key; NULL: as routing.key says.';
comment on column {table}.{status} is 'INIT, then PUBLISH (acknowledged by the broker), then COMPLETE (consumed); or FAILED (given up, see the last error).';
comment on column {table}.{kafka_offset} is 'With topic and partition: where the record is.';
comment on column {table}.{attempts} is 'How often the event was sent, the first time included.';
-- Takes what no month has room for, so that no insert of a service ever fails for want of a partition.
create table if not exists {default_partition} partition of {table} default with (fillfactor = 50);
