//! What a process runs sessions for.

use uuid::Uuid;

/// What the sessions of a process are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To relay until stopped.
    Relay,
    /// To carry out the replay requests up to this one, and nothing else.
    Replay(Uuid),
}
