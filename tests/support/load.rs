//! Load from another thread, for as long as a test wants it.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{NewRow, Stage};

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

/// Inserts rows of a few keys, in transactions of different sizes, while the load goes on; returns how many.
pub fn sell(stage: &Stage<'_>, load: &Load) -> i64 {
    let mut client = stage.client();
    let mut number = 0;
    while load.goes_on() {
        let mut transaction = client.transaction().expect("begins");
        for _ in 0..=(number % 7) {
            NewRow::of("load", number % 5, number).insert(&mut transaction).expect("inserted");
            number += 1;
        }
        transaction.commit().expect("commits");
    }
    number
}

/// Ends the load when it is dropped.
#[derive(Debug)]
pub struct LoadEnd<'a>(&'a Load);

impl Drop for LoadEnd<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Relaxed);
    }
}
