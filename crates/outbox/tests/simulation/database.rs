//! The outbox table, and what reaches it late.

use outbox::Status;

use crate::random::Random;

pub(crate) struct Database {
    /// Per event its row's status; `None` when there is no such row (any more).
    rows: Vec<Option<Status>>,
    /// Statements of connections that are gone, which the server has yet to carry out.
    late: Vec<Vec<usize>>,
}

impl Database {
    pub(crate) fn new() -> Self {
        Database { rows: Vec::new(), late: Vec::new() }
    }

    /// A row, or none where the service deletes it in the transaction that inserts it.
    pub(crate) fn event_added(&mut self, has_row: bool) {
        self.rows.push(has_row.then_some(Status::Init));
    }

    pub(crate) fn status(&self, event: usize) -> Option<Status> {
        self.rows[event]
    }

    pub(crate) fn statuses(&self) -> Vec<Option<Status>> {
        self.rows.clone()
    }

    /// The guarded update of the write-back: it changes INIT rows only, and none is fine.
    pub(crate) fn write_back(&mut self, events: &[usize]) {
        for &event in events {
            if self.rows[event] == Some(Status::Init) {
                self.rows[event] = Some(Status::Publish);
            }
        }
    }

    /// A statement whose connection is lost may still be carried out, at some time.
    pub(crate) fn statement_orphaned(&mut self, events: Vec<usize>) {
        self.late.push(events);
    }

    pub(crate) fn has_late_statement(&self) -> bool {
        !self.late.is_empty()
    }

    pub(crate) fn late_statement_runs(&mut self, random: &mut Random) {
        let events = self.late.swap_remove(random.below(self.late.len()));
        self.write_back(&events);
    }

    /// A receipt may come before the write-back.
    pub(crate) fn consumed(&mut self, event: usize) {
        if matches!(self.rows[event], Some(Status::Init | Status::Publish)) {
            self.rows[event] = Some(Status::Complete);
        }
    }

    /// A person gives the row up.
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
