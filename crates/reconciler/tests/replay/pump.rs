//! A pump without a broker: it notes what it is given, updates the rows and answers.

use std::sync::{Arc, Mutex};

use outbox::{Event, Lsn};
use reconciler::{Intake, Origin, Outcome, Publisher, Work, planning};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_postgres::NoTls;
use uuid::Uuid;

use crate::fixture::{Fixture, number};

/// What was sent, in order, over all lives.
#[derive(Clone, Default)]
pub(crate) struct Sent(Arc<Mutex<Vec<(u128, Origin)>>>);

impl Sent {
    pub(crate) fn numbers(&self) -> Vec<u128> {
        self.0.lock().unwrap().iter().map(|(number, _)| *number).collect()
    }

    pub(crate) fn all(&self) -> Vec<(u128, Origin)> {
        self.0.lock().unwrap().clone()
    }
}

pub(crate) struct Pump {
    pub(crate) publisher: Publisher,
    pub(crate) settled: watch::Sender<Lsn>,
    pub(crate) task: JoinHandle<()>,
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the pump does with the row of this number.
pub(crate) type Verdict = fn(u128) -> Outcome;

pub(crate) fn done(_: u128) -> Outcome {
    Outcome::Done
}

impl Pump {
    /// Takes `sends_max` rows and then nothing more, answering for all but the last `unanswered`.
    pub(crate) async fn start(
        fixture: &Fixture,
        sent: &Sent,
        verdict: Verdict,
        sends_max: usize,
        unanswered: usize,
    ) -> Pump {
        let (publisher, Intake { mut planned, settled }) = planning(16);
        let (sql, connection) = fixture.database.config.connect(NoTls).await.expect("the server is there");
        tokio::spawn(connection);
        settled.send_replace(Lsn::from_u64(u64::MAX));
        let sent = sent.clone();
        let task = tokio::spawn(async move {
            let mut owed: Vec<oneshot::Sender<Outcome>> = Vec::new();
            let mut taken = 0;
            while taken < sends_max {
                let Some(planned) = planned.recv().await else { return };
                let (id, origin) = match planned.work {
                    Work::Send { event: Event { id, .. }, origin } => (id, origin),
                    Work::Skip { id } => (id, Origin::Held),
                    other => panic!("{other:?}"),
                };
                sent.0.lock().unwrap().push((number(id), origin));
                taken += 1;
                if taken + unanswered > sends_max {
                    owed.push(planned.done);
                    continue;
                }
                let outcome = verdict(number(id));
                if outcome == Outcome::Done {
                    update(&sql, id).await;
                }
                let _ = planned.done.send(outcome);
            }
            std::future::pending::<()>().await;
        });
        Pump { publisher, settled, task }
    }

    pub(crate) async fn endless(fixture: &Fixture, sent: &Sent, verdict: Verdict) -> Pump {
        Pump::start(fixture, sent, verdict, usize::MAX / 2, 0).await
    }
}

async fn update(sql: &tokio_postgres::Client, id: Uuid) {
    sql.execute(
        "update outbox set status = case when status = 'COMPLETE' then status else 'PUBLISH' end,
             attempts = attempts + 1 where id = $1",
        &[&id],
    )
    .await
    .expect("it is updated");
}
