-- Held and failed events can be published without their rows, and a key of any length is indexed by its digest.
alter table postrider.held
    add column if not exists event bytea[],
    add column if not exists created_at timestamptz,
    add column if not exists last_error text,
    alter column topic drop not null,
    alter column key drop not null;
drop index if exists postrider.held_in_order;
create index if not exists held_queue on postrider.held (slot, hashtextextended(topic, 0), sha256(key), seq);
comment on table postrider.held is 'Events that failed and hold their key (head), the events that wait behind them in the order of seq, and failed events whose row was deleted (head, without a key).';
comment on column postrider.held.event is 'The texts of the event in the order of the table''s columns, aggregate_type to partition_key, then the columns that only templates read.';
