-- Requests to send rows again, and rows that wait behind one that could not be sent.

-- Only an operator's role needs to INSERT here; the relay reads requests and keeps their progress.
create table if not exists postrider.replay (
    id uuid primary key,
    slot text not null,
    kind text not null default 'replay' check (kind in ('replay', 'skip')),
    -- which rows: all conditions that are not NULL, together; created_before is never NULL for a replay, so that
    -- it has an end under live traffic
    ids uuid[] check (ids <> '{}'),
    statuses text[] check (statuses <> '{}' and statuses <@ array['INIT', 'PUBLISH', 'COMPLETE', 'FAILED']),
    created_from timestamptz,
    created_before timestamptz,
    -- created_before is when the request was made, because it named no earlier end
    until_now boolean not null default false,
    aggregate_type text,
    aggregate_id text,
    rows_max bigint,
    rows_per_second int,
    -- how it goes
    state text not null default 'queued' check (state in ('queued', 'running', 'done', 'failed', 'cancelled')),
    requested_at timestamptz not null default clock_timestamp(),
    requested_by text not null default session_user,
    started_at timestamptz,
    finished_at timestamptz,
    rows_total bigint,
    rows_sent bigint not null default 0,
    rows_failed bigint not null default 0,
    rows_passed bigint not null default 0,
    -- the last row that is dealt with: what comes after it, by created_at and id, is still to be done
    last_created_at timestamptz,
    last_id uuid,
    last_error text
) with (fillfactor = 50);
comment on table postrider.replay is 'Requests of `postrider replay`, and how far each has come.';

-- A lane is the rows of one key in one topic. Rows of a lane are sent in the order of seq, once its head is gone.
create table if not exists postrider.held (
    slot text not null,
    id uuid not null,
    topic text not null,
    key bytea not null,
    seq bigint generated always as identity,
    head boolean not null,
    held_at timestamptz not null default now(),
    primary key (slot, id)
);
create index if not exists held_in_order on postrider.held (slot, topic, key, seq);
comment on table postrider.held is 'Rows that could not be sent under failure.policy = hold (head), and the rows of their keys that wait behind them.';
