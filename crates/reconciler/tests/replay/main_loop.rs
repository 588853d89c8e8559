//! A main loop without a broker: it records the commands, updates the rows and returns an outcome.

use std::sync::{Arc, Mutex};

use outbox::{Event, Lsn};
use reconciler::{ResendCause, ResendCommand, ResendIntake, ResendOutcome, ResendQueue, resend_queue};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_postgres::NoTls;
use uuid::Uuid;

use crate::fixture::{Fixture, number};

/// The commands, in order, over all sessions.
#[derive(Clone, Default)]
pub(crate) struct Sent(Arc<Mutex<Vec<(u128, ResendCause)>>>);

impl Sent {
    pub(crate) fn numbers(&self) -> Vec<u128> {
        self.0.lock().unwrap().iter().map(|(number, _)| *number).collect()
    }

    pub(crate) fn all(&self) -> Vec<(u128, ResendCause)> {
        self.0.lock().unwrap().clone()
    }
}

pub(crate) struct MainLoop {
    pub(crate) resends: ResendQueue,
    pub(crate) settled: watch::Sender<Lsn>,
    pub(crate) task: JoinHandle<()>,
}

impl Drop for MainLoop {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The outcome for the row of this number.
pub(crate) type Outcomes = fn(u128) -> ResendOutcome;

pub(crate) fn done(_: u128) -> ResendOutcome {
    ResendOutcome::Done
}

impl MainLoop {
    /// Executes `commands_max` commands and then blocks. The last `unanswered` of them get no outcome.
    pub(crate) async fn start(
        fixture: &Fixture,
        sent: &Sent,
        outcomes: Outcomes,
        commands_max: usize,
        unanswered: usize,
    ) -> MainLoop {
        let (resends, ResendIntake { mut commands, settled }) = resend_queue(16);
        let (sql, connection) = fixture.database.config.connect(NoTls).await.expect("PostgreSQL runs");
        tokio::spawn(connection);
        settled.send_replace(Lsn::from_u64(u64::MAX));
        let sent = sent.clone();
        let task = tokio::spawn(async move {
            let mut open: Vec<oneshot::Sender<ResendOutcome>> = Vec::new();
            let mut taken = 0;
            while taken < commands_max {
                let Some(queued) = commands.recv().await else { return };
                let (id, cause) = match queued.command {
                    ResendCommand::Resend { event: Event { id, .. }, cause } => (id, cause),
                    ResendCommand::Skip { id } => (id, ResendCause::HeldKey),
                    other => panic!("{other:?}"),
                };
                sent.0.lock().unwrap().push((number(id), cause));
                taken += 1;
                if taken + unanswered > commands_max {
                    open.push(queued.done);
                    continue;
                }
                let outcome = outcomes(number(id));
                if outcome == ResendOutcome::Done {
                    update(&sql, id).await;
                }
                let _ = queued.done.send(outcome);
            }
            std::future::pending::<()>().await;
        });
        MainLoop { resends, settled, task }
    }

    pub(crate) async fn endless(fixture: &Fixture, sent: &Sent, outcomes: Outcomes) -> MainLoop {
        MainLoop::start(fixture, sent, outcomes, usize::MAX / 2, 0).await
    }
}

async fn update(sql: &tokio_postgres::Client, id: Uuid) {
    sql.execute(
        "update outbox set status = case when status = 'COMPLETE' then status else 'PUBLISH' end,
             attempts = attempts + 1 where id = $1",
        &[&id],
    )
    .await
    .expect("the row is updated");
}
