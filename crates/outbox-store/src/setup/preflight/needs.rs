/// What `run` is to do besides relaying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunNeeds {
    /// Whether it writes back.
    pub write_back: bool,
    /// Whether it deletes rows that are COMPLETE.
    pub retention: bool,
}
