//! A connection that takes orders and payments, each with its outbox row in the same transaction.

use std::time::Instant;

use serde_json::json;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Statement, Transaction};
use uuid::Uuid;

use crate::connection::connect;
use crate::schema::outbox_exists;
use crate::{Error, Ledger, Order, OutboxRow};

pub(crate) struct SalesWorker {
    client: Client,
    statements: Statements,
}

struct Statements {
    order: Statement,
    paid: Statement,
    payment: Statement,
    outbox: Statement,
}

/// How a transaction ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TransactionEnd {
    Commit,
    RollBack,
}

impl SalesWorker {
    /// Connects and prepares the statements.
    ///
    /// # Errors
    /// [`Error::NoOutbox`] if the outbox table does not exist (yet).
    pub(crate) async fn open(config: &Config, outbox: &str) -> Result<SalesWorker, Error> {
        let client = connect(config).await?;
        // This also validates that `outbox` is a table name before it is inserted into SQL text.
        if !outbox_exists(&client, outbox).await? {
            return Err(Error::NoOutbox { table: outbox.to_owned() });
        }
        let prepare =
            async |sql: &str| client.prepare(sql).await.map_err(Error::postgres("preparing statements"));
        let statements = Statements {
            order: prepare(
                "insert into orders (id, customer, total_cents, state) values ($1, $2, $3, 'placed')",
            )
            .await?,
            paid: prepare("update orders set state = 'paid' where id = $1").await?,
            payment: prepare(
                "insert into payments (id, order_id, amount_cents, state) values ($1, $2, $3, $4)",
            )
            .await?,
            outbox: prepare(&format!(
                "insert into {outbox} \
                 (id, aggregate_type, aggregate_id, event_type, payload, headers, partition_key) \
                 values ($1, $2, $3, $4, $5::text::jsonb, $6::text::jsonb, $7)"
            ))
            .await?,
        };
        Ok(SalesWorker { client, statements })
    }

    /// Executes one order and then its payments.
    pub(crate) async fn serve(&mut self, order: &Order, ledger: &dyn Ledger) -> Result<(), Error> {
        if self.place(order, ledger).await? == TransactionEnd::RollBack {
            return Ok(());
        }
        let mut sequence = 2;
        if order.payment_declined {
            self.pay(order, "declined", sequence, TransactionEnd::Commit, ledger).await?;
            sequence += 1;
        }
        if order.payment_rolls_back {
            self.pay(order, "received", sequence, TransactionEnd::RollBack, ledger).await?;
        }
        self.pay(order, "received", sequence, TransactionEnd::Commit, ledger).await
    }

    async fn place(&mut self, order: &Order, ledger: &dyn Ledger) -> Result<TransactionEnd, Error> {
        let body = json!({
            "customer": order.customer, "lines": order.lines, "total_cents": order.total_cents(),
        });
        let placed = OutboxRow::of_order(order, "order_placed", 1, body);
        let end = if order.rolls_back { TransactionEnd::RollBack } else { TransactionEnd::Commit };
        let mut transaction = OutboxTransaction::begin(&mut self.client, &self.statements, ledger).await?;
        let total_cents = cents(order);
        transaction.execute(&self.statements.order, &[&order.id, &order.customer, &total_cents]).await?;
        if order.gift_rolled_back {
            transaction.write_and_roll_back(OutboxRow::of_order(order, "gift_added", 2, json!({}))).await?;
        }
        transaction.write(placed).await?;
        transaction.end(end).await?;
        Ok(end)
    }

    async fn pay(
        &mut self,
        order: &Order,
        state: &str,
        sequence: u64,
        end: TransactionEnd,
        ledger: &dyn Ledger,
    ) -> Result<(), Error> {
        let payment = Uuid::now_v7();
        let mut transaction = OutboxTransaction::begin(&mut self.client, &self.statements, ledger).await?;
        transaction.execute(&self.statements.payment, &[&payment, &order.id, &cents(order), &state]).await?;
        if state == "received" {
            let received = OutboxRow::of_payment(order, payment, "payment_received", sequence);
            let is_malformed = order.payment_malformed;
            transaction.write(if is_malformed { received.malformed() } else { received }).await?;
            transaction.execute(&self.statements.paid, &[&order.id]).await?;
            let body = json!({ "payment_id": payment.to_string() });
            transaction.write(OutboxRow::of_order(order, "order_paid", sequence + 1, body)).await?;
        } else {
            transaction.write(OutboxRow::of_payment(order, payment, "payment_declined", sequence)).await?;
        }
        transaction.end(end).await
    }
}

fn cents(order: &Order) -> i64 {
    i64::try_from(order.total_cents()).unwrap_or(i64::MAX)
}

/// An open transaction and the outbox rows inserted in it.
struct OutboxTransaction<'a> {
    transaction: Transaction<'a>,
    statements: &'a Statements,
    written: WrittenRows<'a>,
}

impl<'a> OutboxTransaction<'a> {
    async fn begin(
        client: &'a mut Client,
        statements: &'a Statements,
        ledger: &'a dyn Ledger,
    ) -> Result<OutboxTransaction<'a>, Error> {
        let transaction = client.transaction().await.map_err(Error::postgres("beginning a transaction"))?;
        Ok(OutboxTransaction { transaction, statements, written: WrittenRows { ledger, rows: Vec::new() } })
    }

    async fn execute(&self, statement: &Statement, values: &[&(dyn ToSql + Sync)]) -> Result<(), Error> {
        let write = self.transaction.execute(statement, values).await;
        write.map(drop).map_err(Error::postgres("writing an order or a payment"))
    }

    async fn write(&mut self, row: OutboxRow) -> Result<(), Error> {
        insert(&self.transaction, &self.statements.outbox, &row).await?;
        self.written.rows.push(row);
        Ok(())
    }

    /// Inserts the row after a savepoint and rolls back to it.
    async fn write_and_roll_back(&mut self, row: OutboxRow) -> Result<(), Error> {
        let doing = "rolling back to a savepoint";
        let savepoint = self.transaction.savepoint("gift").await.map_err(Error::postgres(doing))?;
        insert(&savepoint, &self.statements.outbox, &row).await?;
        savepoint.rollback().await.map_err(Error::postgres(doing))?;
        self.written.ledger.rolled_back(&[row]);
        Ok(())
    }

    async fn end(self, end: TransactionEnd) -> Result<(), Error> {
        let OutboxTransaction { transaction, mut written, .. } = self;
        if end == TransactionEnd::RollBack {
            return transaction.rollback().await.map_err(Error::postgres("rolling back"));
        }
        let committed = transaction.commit().await;
        let at = Instant::now();
        let rows = std::mem::take(&mut written.rows);
        match committed {
            Ok(()) => written.ledger.committed(&rows, at),
            Err(error) => {
                if did_not_commit(&error) {
                    written.ledger.rolled_back(&rows);
                } else {
                    written.ledger.in_doubt(&rows);
                }
                return Err(Error::postgres("committing")(error));
            }
        }
        Ok(())
    }
}

/// Whether the server reported that the transaction did not commit. Class 57 (operator intervention) is no evidence:
/// the session may be terminated after its commit.
fn did_not_commit(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| !code.code().starts_with("57"))
}

/// The outbox rows of an open transaction. Dropped before COMMIT was sent, it reports them as rolled back.
struct WrittenRows<'a> {
    ledger: &'a dyn Ledger,
    rows: Vec<OutboxRow>,
}

impl Drop for WrittenRows<'_> {
    fn drop(&mut self) {
        if !self.rows.is_empty() {
            self.ledger.rolled_back(&self.rows);
        }
    }
}

async fn insert(transaction: &Transaction<'_>, statement: &Statement, row: &OutboxRow) -> Result<(), Error> {
    let values: [&(dyn ToSql + Sync); 7] = [
        &row.id,
        &row.aggregate_type,
        &row.aggregate_id,
        &row.event_type,
        &row.payload,
        &row.headers,
        &row.partition_key,
    ];
    let write = transaction.execute(statement, &values).await;
    write.map(drop).map_err(Error::postgres("writing an outbox row"))
}
