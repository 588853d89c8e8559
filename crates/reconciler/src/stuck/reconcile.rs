//! Finding stuck rows when they are known to be overdue, and planning what is to become of them.

use outbox::{CreatedRange, Lsn};

use crate::database::Database;
use crate::deadlines::schedule::{Kind, Overdue};
use crate::deadlines::tracker::Account;
use crate::evidence::kafka_evidence::Broker;
use crate::resend_command::{LifeOver, Publisher};
use crate::stuck::options::ReconcileOptions;
use crate::stuck::outage::Outages;
use crate::stuck::resend_backoff::Backoff;
use crate::stuck::round::{Reconciler, Round};
use crate::stuck::round_error::Trouble;

/// Looks for stuck rows and plans what is to become of them, for one life of the relay: once when everything before
/// `horizon`, where the log ended when the life began, is settled, since what is in the slot is not stuck; then
/// whenever the `account` says that something is overdue, and at no other time.
///
/// What stands in the way is waited out and told in the log; this ends only with the life of the relay. It may be
/// dropped at any time.
pub async fn reconcile(
    database: Database,
    broker: impl Broker,
    options: ReconcileOptions,
    account: Account,
    publisher: Publisher,
    horizon: Lsn,
) {
    if publisher.settled(horizon).await.is_err() {
        return;
    }
    let first = options.publish_after.unwrap_or_default();
    let backoff = Backoff { first, attempts_max: options.attempts_max };
    let reconciler = Reconciler { database, broker, options, backoff, account, publisher };
    // Ends with the life.
    let _ = reconciler.run().await;
}

impl<B: Broker> Reconciler<B> {
    async fn run(&self) -> Result<(), LifeOver> {
        // What earlier lives have left: every row that the account does not know of.
        let init =
            Overdue { kind: Kind::Init, created: CreatedRange::of(None), attempted: None, rows: 0, looks: 0 };
        self.look(init.clone(), true).await?;
        if self.options.publish_after.is_some() {
            self.look(Overdue { kind: Kind::Publish, ..init }, true).await?;
        }
        loop {
            let overdue = tokio::select! {
                overdue = self.account.overdue() => overdue,
                () = self.life_over() => return Err(LifeOver),
            };
            self.look(overdue, false).await?;
        }
    }

    /// The log never ends there, so only the end of the life ends the waiting.
    async fn life_over(&self) {
        if self.publisher.settled(Lsn::from_u64(u64::MAX)).await.is_ok() {
            std::future::pending().await
        }
    }

    /// Looks into what is overdue, until it has been possible.
    async fn look(&self, mut overdue: Overdue, is_start: bool) -> Result<(), LifeOver> {
        let mut outages = Outages::default();
        loop {
            let mut round = Round::new(self, is_start);
            let result = match overdue.kind {
                Kind::Init => round.init_rows(overdue.created).await,
                Kind::Publish => round.publish_rows(&overdue).await,
            };
            round.said.tell(overdue.kind);
            let trouble = match result {
                Ok(remaining) => {
                    outages.over();
                    overdue.created = remaining.created.unwrap_or(overdue.created);
                    self.account.judged(overdue, remaining.rows, remaining.again_after);
                    return Ok(());
                }
                Err(Trouble::LifeOver) => return Err(LifeOver),
                Err(trouble) => trouble,
            };
            drop(round);
            let pause = outages.pause(&trouble);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.life_over() => return Err(LifeOver),
            }
        }
    }
}
