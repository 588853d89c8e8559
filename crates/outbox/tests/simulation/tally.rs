//! What the histories went through, to show that they are not empty.

use std::fmt;
use std::ops::AddAssign;

use crate::relay::Account;
use crate::steps::Step;

#[derive(Clone, Default)]
pub(crate) struct Tally {
    pub(crate) histories: u64,
    pub(crate) steps: u64,
    pub(crate) taken: [u64; Step::ALL.len()],
    pub(crate) oversized: u64,
    /// Connections lost between BEGIN and COMMIT.
    pub(crate) lost_in_transaction: u64,
    pub(crate) refused: u64,
    pub(crate) published: u64,
    /// Re-sent after a restart and known by their rows.
    pub(crate) skipped: u64,
    /// Re-sent on a new connection and known by the reader's place.
    pub(crate) dropped: u64,
    /// Refused, and out of the way of others.
    pub(crate) set_aside: u64,
    /// Sent again on purpose.
    pub(crate) planned: u64,
}

impl Tally {
    pub(crate) fn run_ended(&mut self, account: &Account) {
        self.published += account.produced.len() as u64;
        self.skipped += account.skipped as u64;
        self.dropped += account.dropped as u64;
        self.set_aside += account.set_aside as u64;
        self.planned += account.planned as u64;
    }

    /// The name of something that ought to happen in any thousand histories and did not.
    pub(crate) fn missing(&self) -> Option<String> {
        let never = Step::ALL.into_iter().find(|step| self.taken[*step as usize] == 0);
        let others = [
            (self.oversized, "an oversized transaction"),
            (self.lost_in_transaction, "a connection lost in a transaction"),
            (self.refused, "a refusal"),
            (self.skipped, "an event skipped"),
            (self.dropped, "an event dropped"),
            (self.set_aside, "an event set aside"),
            (self.planned, "an event sent again on purpose"),
        ];
        let other = others.into_iter().find(|(count, _)| *count == 0).map(|(_, name)| name.to_owned());
        never.map(|step| format!("{step:?}")).or(other)
    }
}

impl AddAssign<&Tally> for Tally {
    fn add_assign(&mut self, other: &Tally) {
        self.histories += other.histories;
        self.steps += other.steps;
        self.taken.iter_mut().zip(other.taken).for_each(|(sum, more)| *sum += more);
        self.oversized += other.oversized;
        self.lost_in_transaction += other.lost_in_transaction;
        self.refused += other.refused;
        self.published += other.published;
        self.skipped += other.skipped;
        self.dropped += other.dropped;
        self.set_aside += other.set_aside;
        self.planned += other.planned;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = |step: Step| self.taken[step as usize];
        write!(f, "{} histories, {} steps: {} crashes", self.histories, self.steps, taken(Step::Crash))?;
        write!(f, ", {} server crashes, {} drains", taken(Step::ServerCrash), taken(Step::End))?;
        write!(f, ", {} refusals, {} connections lost", self.refused, taken(Step::ConnectionLost))?;
        write!(f, "; {} published, {} skipped, {} dropped", self.published, self.skipped, self.dropped)?;
        write!(f, ", {} set aside, {} sent again on purpose", self.set_aside, self.planned)
    }
}
