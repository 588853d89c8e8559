use outbox::{CreatedRange, Lsn};

use crate::deadlines::schedule::{DeadlineKind, Overdue};
use crate::deadlines::tracker::DeadlineTracker;
use crate::evidence::kafka_evidence::KafkaEvidence;
use crate::resend_command::{ResendQueue, SessionClosed};
use crate::stuck::options::ReconcileOptions;
use crate::stuck::outage::RoundOutage;
use crate::stuck::resend_backoff::ResendBackoff;
use crate::stuck::round::{Remaining, Round, RoundContext};
use crate::stuck::round_error::RoundError;
use crate::stuck::startup_scan::StartupScan;
use outbox_store::Database;

/// Checks for stuck rows during one session of the relay and submits commands about them.
///
/// It starts once everything before `horizon`, where the WAL ended when the session began, is settled: rows that the
/// slot still brings are not stuck. Then it queries the table only if `deadlines` reports overdue rows, and once per
/// process for rows that `deadlines` has not counted (see [`StartupScan`]).
///
/// Outages are retried and logged. It returns when the session closes, and may be dropped at any time: the next
/// session continues with the same `deadlines` and `startup`.
pub async fn reconcile(
    database: Database,
    evidence: impl KafkaEvidence,
    options: ReconcileOptions,
    deadlines: DeadlineTracker,
    startup: StartupScan,
    resends: ResendQueue,
    horizon: Lsn,
) {
    if resends.settled(horizon).await.is_err() {
        return;
    }
    let min = options.publish_after.unwrap_or_default();
    let backoff = ResendBackoff { min, attempts_max: options.attempts_max };
    let reconciler = Reconciler {
        context: RoundContext { database, evidence, options, backoff, deadlines, resends },
        startup,
    };
    let Err(SessionClosed) = reconciler.run().await;
}

struct Reconciler<E> {
    context: RoundContext<E>,
    startup: StartupScan,
}

impl<E: KafkaEvidence> Reconciler<E> {
    async fn run(&self) -> Result<std::convert::Infallible, SessionClosed> {
        self.scan(DeadlineKind::Init).await?;
        if self.context.options.publish_after.is_some() {
            self.scan(DeadlineKind::Publish).await?;
        }
        loop {
            let check = tokio::select! {
                check = self.context.deadlines.overdue() => check,
                () = self.context.resends.closed() => return Err(SessionClosed),
            };
            let Remaining { rows, created, again_after } = self.check(check.overdue(), false).await?;
            check.finish(rows, created, again_after);
        }
    }

    /// Checks the rows that no session of this process has counted.
    async fn scan(&self, kind: DeadlineKind) -> Result<(), SessionClosed> {
        if self.startup.is_done(kind) {
            return Ok(());
        }
        let all = Overdue { kind, created: CreatedRange::of(None), attempted: None, rows: 0, checks: 0 };
        let Remaining { rows, created, again_after } = self.check(all.clone(), true).await?;
        self.startup.finish(kind);
        self.context.deadlines.checked(all, rows, created, again_after);
        Ok(())
    }

    /// Checks overdue rows, retrying until that succeeds.
    async fn check(&self, overdue: Overdue, is_startup: bool) -> Result<Remaining, SessionClosed> {
        let mut outage = RoundOutage::default();
        loop {
            let mut round = Round::new(&self.context, is_startup);
            let result = match overdue.kind {
                DeadlineKind::Init => round.init_rows(overdue.created).await,
                DeadlineKind::Publish => round.publish_rows(&overdue).await,
            };
            round.summary.log(overdue.kind);
            let error = match result {
                Ok(remaining) => {
                    outage.recovered();
                    return Ok(remaining);
                }
                Err(RoundError::SessionClosed) => return Err(SessionClosed),
                Err(error) => error,
            };
            drop(round);
            let pause = outage.failed(&error);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.context.resends.closed() => return Err(SessionClosed),
            }
        }
    }
}
