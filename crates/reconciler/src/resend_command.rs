//! What is planned, on its way to the pump that publishes it.

use outbox::{Event, Lsn};
use outbox_store::StoredPlace;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

/// Something that is to be done to a row, although the log does not bring it now.
#[derive(Debug)]
pub struct Planned {
    /// What is to be done.
    pub work: Work,
    /// To be told what became of it. Dropped without a word when the life of the relay ends before that is known.
    pub done: oneshot::Sender<Outcome>,
}

/// What is to be done to a row.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "sending is the common one, and few wait at a time")]
pub enum Work {
    /// To send it, as it stands.
    Send {
        /// The row.
        event: Event,
        /// Who wants it sent.
        origin: Origin,
    },
    /// To mark it COMPLETE: its record at this place was consumed, and the receipt was missed.
    Complete {
        /// The row.
        id: Uuid,
        /// Where its record is.
        place: StoredPlace,
    },
    /// To mark it FAILED, for this reason.
    GiveUp {
        /// The row.
        id: Uuid,
        /// For the person who reads it on the row.
        reason: String,
    },
    /// To let the rows that wait behind this one go on without it.
    Skip {
        /// The row at the head of its key.
        id: Uuid,
    },
}

/// Who wants a row sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A person, by this request.
    Request(Uuid),
    /// The reconciler, which found it stuck.
    Reconciler,
    /// It has waited behind a row of its key that is out of the way now. It has never been sent.
    Held,
}

/// What became of a planned row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, durably: the broker has the record and its row says so, or the row says what it was to say.
    Done,
    /// It cannot be published, for this reason, which stands on its row.
    Refused(String),
    /// It was on its way already; nothing was done.
    OnItsWay,
    /// Its key is held back behind another row; it was put in line and will be sent in its turn.
    InLine,
    /// Nothing is held back behind the row that was to be skipped.
    NothingHeld,
}

/// The life of the relay has ended; what is not known to be done is to be planned by the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LifeOver;

/// The way to the pump, for those who plan. Clones share it.
#[derive(Clone, Debug)]
pub struct Publisher {
    planned: mpsc::Sender<Planned>,
    settled: watch::Receiver<Lsn>,
}

/// The pump's end of it.
#[derive(Debug)]
pub struct Intake {
    /// What is to be published, in the order in which it was planned.
    pub planned: mpsc::Receiver<Planned>,
    /// To be told up to where everything the log brought is settled.
    pub settled: watch::Sender<Lsn>,
}

/// A way to the pump on which at most `planned_max` rows wait.
pub fn planning(planned_max: usize) -> (Publisher, Intake) {
    let (to_pump, planned) = mpsc::channel(planned_max.max(1));
    let (settled, known) = watch::channel(Lsn::ZERO);
    (Publisher { planned: to_pump, settled: known }, Intake { planned, settled })
}

impl Publisher {
    /// Hands work over, waiting while the pump takes none. What becomes of it comes through the receiver.
    ///
    /// # Errors
    ///
    /// The life is over; the work was not taken.
    pub async fn plan(&self, work: Work) -> Result<oneshot::Receiver<Outcome>, LifeOver> {
        let (done, outcome) = oneshot::channel();
        self.planned.send(Planned { work, done }).await.map_err(|_| LifeOver)?;
        Ok(outcome)
    }

    /// Waits until everything the log brought before `position` is settled: written to its row, or set aside.
    /// A row that was visible when the log ended at `position` and says INIT afterwards is one that the log
    /// does not bring any more.
    ///
    /// # Errors
    ///
    /// The life is over.
    pub async fn settled(&self, position: Lsn) -> Result<(), LifeOver> {
        let mut settled = self.settled.clone();
        settled.wait_for(|known| *known >= position).await.map(drop).map_err(|_| LifeOver)
    }
}
