//! A stop flag of a thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sets the stop flag of a thread when it is dropped.
pub(crate) struct StopOnDrop(Arc<AtomicBool>);

impl StopOnDrop {
    pub(crate) fn new(flag: &Arc<AtomicBool>) -> Self {
        StopOnDrop(Arc::clone(flag))
    }

    #[cfg(test)]
    pub(crate) fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
