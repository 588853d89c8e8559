-- Postrider's own schema, and how far each partition has been written back.
create schema if not exists postrider;

create table if not exists postrider.migration (
    version int primary key,
    name text not null,
    applied_at timestamptz not null default now()
);
comment on table postrider.migration is 'Which of the numbered migrations this database has.';

-- One row per partition, updated with every batch: fillfactor 10 keeps room for its HOT updates on its page.
create table if not exists postrider.progress (
    slot text not null,
    topic text not null,
    partition int not null,
    "offset" bigint not null,
    written_at timestamptz not null,
    primary key (slot, topic, partition)
) with (fillfactor = 10);
comment on table postrider.progress is 'Per replication slot and Kafka partition: the highest offset that has been written back to its outbox row.';
