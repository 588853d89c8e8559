//! The outbox table, and what reaches it late.

use outbox::Status;

use crate::random::Random;

pub(crate) struct Database {
    /// Per event its row's status; `None` when there is no such row (any more).
    rows: Vec<Option<Status>>,
    /// Per event, whether the relay gave it up. Without a row only its log and the dead letter tell.
    given_up: Vec<bool>,
    /// Statements of connections that are gone, which the server has yet to carry out.
    late: Vec<Vec<Write>>,
}

/// What a statement of the relay's makes a row say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write {
    pub(crate) event: usize,
    /// FAILED instead of PUBLISH.
    pub(crate) fails: bool,
}

impl Database {
    pub(crate) fn new() -> Self {
        Database { rows: Vec::new(), given_up: Vec::new(), late: Vec::new() }
    }

    /// A row, or none where the service deletes it in the transaction that inserts it.
    pub(crate) fn event_added(&mut self, has_row: bool) {
        self.rows.push(has_row.then_some(Status::Init));
        self.given_up.push(false);
    }

    pub(crate) fn status(&self, event: usize) -> Option<Status> {
        self.rows[event]
    }

    /// Whether the event is given up: its row is FAILED, or it has none and was given up.
    pub(crate) fn is_given_up(&self, event: usize) -> bool {
        self.rows[event] == Some(Status::Failed) || (self.rows[event].is_none() && self.given_up[event])
    }

    pub(crate) fn statuses(&self) -> Vec<Option<Status>> {
        self.rows.clone()
    }

    /// The guarded update of the write-back: it changes INIT rows only, and none is fine.
    pub(crate) fn write_back(&mut self, writes: &[Write]) {
        for Write { event, fails } in writes {
            self.given_up[*event] |= *fails;
            if self.rows[*event] == Some(Status::Init) {
                self.rows[*event] = Some(if *fails { Status::Failed } else { Status::Publish });
            }
        }
    }

    /// A statement whose connection is lost may still be carried out, at some time.
    pub(crate) fn statement_orphaned(&mut self, writes: Vec<Write>) {
        self.late.push(writes);
    }

    pub(crate) fn has_late_statement(&self) -> bool {
        !self.late.is_empty()
    }

    pub(crate) fn late_statement_runs(&mut self, random: &mut Random) {
        let writes = self.late.swap_remove(random.below(self.late.len()));
        self.write_back(&writes);
    }

    /// A receipt may come before the write-back.
    pub(crate) fn consumed(&mut self, event: usize) {
        if matches!(self.rows[event], Some(Status::Init | Status::Publish)) {
            self.rows[event] = Some(Status::Complete);
        }
    }

    /// An operator marks the row FAILED.
    pub(crate) fn failed(&mut self, event: usize) {
        if self.rows[event] == Some(Status::Init) {
            self.rows[event] = Some(Status::Failed);
        }
    }

    /// Deletes the row if it is COMPLETE; whether it was.
    pub(crate) fn retire(&mut self, event: usize) -> bool {
        let is_complete = self.rows[event] == Some(Status::Complete);
        if is_complete {
            self.rows[event] = None;
        }
        is_complete
    }
}
