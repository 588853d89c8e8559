//! Load from another thread, for as long as a test wants it.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the load goes on.
#[derive(Debug, Default)]
pub struct Load {
    ended: AtomicBool,
}

impl Load {
    /// To be asked by the thread that makes the load.
    pub fn goes_on(&self) -> bool {
        !self.ended.load(Ordering::Relaxed)
    }

    /// Ends the load when the value is dropped, so that a test that fails does not wait for its thread.
    pub fn until_dropped(&self) -> LoadEnd<'_> {
        LoadEnd(self)
    }
}

/// Ends the load when it is dropped.
#[derive(Debug)]
pub struct LoadEnd<'a>(&'a Load);

impl Drop for LoadEnd<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Relaxed);
    }
}
