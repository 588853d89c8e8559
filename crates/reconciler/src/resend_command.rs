//! Commands to the main loop about rows that the WAL does not bring now.

use outbox::RecordPosition;
use outbox::{Event, Lsn};
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

/// A command and where its outcome goes.
#[derive(Debug)]
pub struct QueuedCommand {
    /// The command.
    pub command: ResendCommand,
    /// Receives the outcome; dropped without one if the session closes first.
    pub done: oneshot::Sender<ResendOutcome>,
}

/// What has to happen to a row.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "Resend is the common variant, and few wait at a time")]
pub enum ResendCommand {
    /// Publish it, as it was read from the table.
    Resend {
        /// The row.
        event: Event,
        /// Why it is published.
        cause: ResendCause,
    },
    /// Mark it COMPLETE: its record at this position was consumed and the receipt was missed.
    Complete {
        /// The row.
        id: Uuid,
        /// The position of its record.
        place: RecordPosition,
    },
    /// Mark it FAILED.
    GiveUp {
        /// The row.
        id: Uuid,
        /// The text of `last_error`.
        reason: String,
    },
    /// Release the rows that are held behind this one, without publishing it.
    Skip {
        /// The row at the head of its key.
        id: Uuid,
    },
}

impl ResendCommand {
    /// The row.
    pub fn id(&self) -> Uuid {
        match self {
            ResendCommand::Resend { event, .. } => event.id,
            ResendCommand::Complete { id, .. }
            | ResendCommand::GiveUp { id, .. }
            | ResendCommand::Skip { id } => *id,
        }
    }
}

/// Why a row is published although the WAL does not bring it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResendCause {
    /// The replay request with this id.
    Replay(Uuid),
    /// The reconciler found it stuck.
    Reconciler,
    /// It was held behind a failed row of its key and has never been sent.
    HeldKey,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResendOutcome {
    /// It is done, durably: the record is acknowledged and the row is written, or the row is in the commanded state.
    Done,
    /// The row cannot be published. It is FAILED with this reason.
    Failed(String),
    /// The row was in flight already. Nothing was done.
    AlreadyInFlight,
    /// The row's key is held. It waits behind the failed row and is published once that is replayed or skipped.
    Held,
    /// No rows are held behind the row that was to be skipped.
    NothingHeld,
}

/// The session of the relay has closed. Commands without an outcome have to be submitted again in the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionClosed;

/// The sending end of the queue of commands. Clones share it.
#[derive(Clone, Debug)]
pub struct ResendQueue {
    commands: mpsc::Sender<QueuedCommand>,
    settled: watch::Receiver<Lsn>,
}

/// The main loop's end of the queue. Dropping it closes the session for every [`ResendQueue`].
#[derive(Debug)]
pub struct ResendIntake {
    /// The commands, in the order in which they were submitted.
    pub commands: mpsc::Receiver<QueuedCommand>,
    /// The position before which everything that the WAL brought is settled.
    pub settled: watch::Sender<Lsn>,
}

/// A queue of at most `commands_max` commands.
pub fn resend_queue(commands_max: usize) -> (ResendQueue, ResendIntake) {
    let (sender, commands) = mpsc::channel(commands_max.max(1));
    let (settled, settled_receiver) = watch::channel(Lsn::ZERO);
    (ResendQueue { commands: sender, settled: settled_receiver }, ResendIntake { commands, settled })
}

impl ResendQueue {
    /// Submits a command, waiting while the queue is full. The receiver gets its outcome.
    ///
    /// # Errors
    ///
    /// The session has closed; the command was not submitted.
    pub async fn submit(
        &self,
        command: ResendCommand,
    ) -> Result<oneshot::Receiver<ResendOutcome>, SessionClosed> {
        let (done, outcome) = oneshot::channel();
        self.commands.send(QueuedCommand { command, done }).await.map_err(|_| SessionClosed)?;
        Ok(outcome)
    }

    /// Waits until everything that the WAL brought before `position` is settled: written to its row, failed or held.
    /// A row that was visible when the WAL ended at `position` and is INIT afterwards is not in the WAL ahead.
    ///
    /// # Errors
    ///
    /// The session has closed.
    pub async fn settled(&self, position: Lsn) -> Result<(), SessionClosed> {
        let mut settled = self.settled.clone();
        settled.wait_for(|settled| *settled >= position).await.map(drop).map_err(|_| SessionClosed)
    }

    /// Waits until the session has closed. Cancel-safe.
    pub async fn closed(&self) {
        self.commands.closed().await;
    }
}
