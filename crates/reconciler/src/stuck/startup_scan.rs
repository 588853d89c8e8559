use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::deadlines::schedule::DeadlineKind;

/// Whether the table was scanned for stuck rows that no [`DeadlineTracker`](crate::DeadlineTracker) of this process has
/// counted. One per process, so that a new session of the relay does not repeat the scan. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct StartupScan {
    done: Arc<Done>,
}

#[derive(Debug, Default)]
struct Done {
    init: AtomicBool,
    publish: AtomicBool,
}

impl StartupScan {
    /// The next session scans again. Required when it continues in another log than the one that was read, such as a
    /// new slot or after a failover: rows may have been committed that the relay never counted.
    pub fn reset(&self) {
        for done in [&self.done.init, &self.done.publish] {
            done.store(false, Ordering::Relaxed);
        }
    }

    pub(super) fn is_done(&self, kind: DeadlineKind) -> bool {
        self.flag(kind).load(Ordering::Relaxed)
    }

    pub(super) fn finish(&self, kind: DeadlineKind) {
        self.flag(kind).store(true, Ordering::Relaxed);
    }

    fn flag(&self, kind: DeadlineKind) -> &AtomicBool {
        match kind {
            DeadlineKind::Init => &self.done.init,
            DeadlineKind::Publish => &self.done.publish,
        }
    }
}
