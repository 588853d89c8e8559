//! What a round has done, for the log.

use uuid::Uuid;

use crate::deadlines::schedule::Kind;
use crate::resend_command::Outcome;

// Enough to look some up; the table has them all.
const IDS_MAX: usize = 5;

#[derive(Debug, Default)]
pub(super) struct Said {
    sent: u64,
    completed: u64,
    given_up: u64,
    refused: u64,
    in_line: u64,
    pub(super) lagging: u64,
    pub(super) later: u64,
    ids: Vec<Uuid>,
}

/// What was planned for a row.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plan {
    Send,
    Complete,
    GiveUp,
}

impl Said {
    pub(super) fn outcome(&mut self, id: Uuid, plan: Plan, outcome: &Outcome) {
        let count = match (outcome, plan) {
            (Outcome::Done, Plan::Send) => &mut self.sent,
            (Outcome::Done, Plan::Complete) => &mut self.completed,
            (Outcome::Done, Plan::GiveUp) => &mut self.given_up,
            (Outcome::Refused(_), _) => &mut self.refused,
            (Outcome::InLine, _) => &mut self.in_line,
            (Outcome::OnItsWay | Outcome::NothingHeld, _) => return,
        };
        *count += 1;
        if self.ids.len() < IDS_MAX {
            self.ids.push(id);
        }
    }

    /// Tells of a round, if it has changed anything.
    pub(super) fn tell(&self, kind: Kind) {
        let Said { sent, completed, given_up, refused, in_line, lagging, later, ids } = self;
        let ids: Vec<String> = ids.iter().map(Uuid::to_string).collect();
        let ids = ids.join(" ");
        let state = match kind {
            Kind::Init => "INIT",
            Kind::Publish => "PUBLISH",
        };
        if sent + given_up + refused + in_line > 0 {
            tracing::warn!(
                sent,
                completed,
                given_up,
                refused,
                in_line,
                lagging,
                later,
                ids,
                "rows were stuck in {state}"
            );
        } else if *completed > 0 {
            tracing::info!(
                completed,
                lagging,
                ids,
                "rows were consumed without their receipt; they say COMPLETE now"
            );
        } else {
            tracing::debug!(lagging, later, "rows in {state} are overdue, and nothing is to be done");
        }
    }
}
