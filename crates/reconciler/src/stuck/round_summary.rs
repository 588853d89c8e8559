//! The result of a round, for the log.

use tracing::{debug, info, warn};
use uuid::Uuid;

use crate::deadlines::schedule::DeadlineKind;
use crate::resend_command::{ResendCommand, ResendOutcome};

const IDS_MAX: usize = 10;

#[derive(Debug, Default)]
pub(super) struct RoundSummary {
    sent: u64,
    completed: u64,
    given_up: u64,
    failed: u64,
    held: u64,
    /// Rows whose consumers lag.
    pub(super) lagging: u64,
    /// Rows that are not overdue yet, or back off.
    pub(super) later: u64,
    /// The first rows that were changed.
    ids: Vec<Uuid>,
}

/// The kind of a command.
#[derive(Clone, Copy, Debug)]
pub(super) enum CommandKind {
    Resend,
    Complete,
    GiveUp,
    Skip,
}

impl CommandKind {
    pub(super) fn of(command: &ResendCommand) -> Self {
        match command {
            ResendCommand::Resend { .. } => CommandKind::Resend,
            ResendCommand::Complete { .. } => CommandKind::Complete,
            ResendCommand::GiveUp { .. } => CommandKind::GiveUp,
            ResendCommand::Skip { .. } => CommandKind::Skip,
        }
    }
}

impl RoundSummary {
    pub(super) fn add(&mut self, id: Uuid, kind: CommandKind, outcome: &ResendOutcome) {
        let count = match (outcome, kind) {
            (ResendOutcome::Done, CommandKind::Resend) => &mut self.sent,
            (ResendOutcome::Done, CommandKind::Complete) => &mut self.completed,
            (ResendOutcome::Done, CommandKind::GiveUp) => &mut self.given_up,
            (ResendOutcome::Failed(_), _) => &mut self.failed,
            (ResendOutcome::Held, _) => &mut self.held,
            (ResendOutcome::Done, CommandKind::Skip)
            | (ResendOutcome::AlreadyInFlight | ResendOutcome::NothingHeld, _) => return,
        };
        *count += 1;
        if self.ids.len() < IDS_MAX {
            self.ids.push(id);
        }
    }

    /// Logs the round, at a level that depends on what it changed.
    pub(super) fn log(&self, kind: DeadlineKind) {
        let RoundSummary { sent, completed, given_up, failed, held, lagging, later, ids } = self;
        let ids: Vec<String> = ids.iter().map(Uuid::to_string).collect();
        let ids = ids.join(" ");
        let state = match kind {
            DeadlineKind::Init => "INIT",
            DeadlineKind::Publish => "PUBLISH",
        };
        if sent + given_up + failed + held > 0 {
            warn!(state, sent, completed, given_up, failed, held, lagging, later, ids, "rows were stuck");
        } else if *completed > 0 {
            info!(completed, lagging, ids, "marked rows COMPLETE whose receipts were missed");
        } else {
            debug!(state, lagging, later, "checked overdue rows; nothing to do");
        }
    }
}
