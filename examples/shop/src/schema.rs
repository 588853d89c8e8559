//! The shop's own tables.

use tokio_postgres::Client;

use crate::Error;

// The lock serves several shops that start at once: `create table if not exists` alone can fail between two
// sessions with a unique violation in the catalog.
const TABLES: &str = "
begin;
select pg_advisory_xact_lock(7236824);
create table if not exists orders (
    id          uuid primary key,
    customer    text not null,
    total_cents bigint not null,
    state       text not null,
    placed_at   timestamptz not null default now()
);
create table if not exists payments (
    id           uuid primary key,
    order_id     uuid not null references orders (id),
    amount_cents bigint not null,
    state        text not null,
    made_at      timestamptz not null default now()
);
commit;
";

/// Creates `orders` and `payments` where they are missing. The outbox table is not the shop's to make.
pub async fn create_tables(client: &Client) -> Result<(), Error> {
    client.batch_execute(TABLES).await.map_err(Error::postgres("creating the tables orders and payments"))
}

/// Whether the outbox table is there; `table` is a name as SQL writes it, such as `public.outbox`.
pub async fn outbox_exists(client: &Client, table: &str) -> Result<bool, Error> {
    let row = client
        .query_one("select to_regclass($1) is not null", &[&table])
        .await
        .map_err(Error::postgres("looking for the outbox table"))?;
    Ok(row.get(0))
}
