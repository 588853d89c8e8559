//! The tables of the shop.

use tokio_postgres::Client;

use crate::Error;

// The lock is for several shops that start at once: concurrent `create table if not exists` can fail with a unique
// violation in the catalog.
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

/// Creates `orders` and `payments` if they are missing. The outbox table is created by `postrider init`.
pub async fn create_tables(client: &Client) -> Result<(), Error> {
    client.batch_execute(TABLES).await.map_err(Error::postgres("creating the tables orders and payments"))
}

/// Whether the outbox table exists; `table` is an SQL name such as `public.outbox`.
pub async fn outbox_exists(client: &Client, table: &str) -> Result<bool, Error> {
    let row = client
        .query_one("select to_regclass($1) is not null", &[&table])
        .await
        .map_err(Error::postgres("checking whether the outbox table exists"))?;
    Ok(row.get(0))
}
