//! Receipts that are reported on together.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::write_back::receipt::Receipted;

pub(super) type ChunkNumber = u64;

/// The chunks of which not every receipt is resolved.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    open: HashMap<ChunkNumber, Open>,
    next: ChunkNumber,
}

#[derive(Debug)]
struct Open {
    left: usize,
    so_far: Receipted,
    done: oneshot::Sender<Receipted>,
}

impl Chunks {
    /// A chunk of so many receipts. An empty one is done at once.
    pub(super) fn open(&mut self, receipts: usize, done: oneshot::Sender<Receipted>) -> ChunkNumber {
        let number = self.next;
        self.next += 1;
        if receipts > 0 {
            self.open.insert(number, Open { left: receipts, so_far: Receipted::default(), done });
        } else {
            tell(done, Receipted::default());
        }
        number
    }

    /// One of a chunk's receipts is durable, or nothing will come of it.
    pub(super) fn resolved(&mut self, number: ChunkNumber, completed: bool) {
        let Some(chunk) = self.open.get_mut(&number) else { return };
        if completed {
            chunk.so_far.completed += 1;
        } else {
            chunk.so_far.idle += 1;
        }
        chunk.left -= 1;
        if chunk.left == 0
            && let Some(chunk) = self.open.remove(&number)
        {
            tell(chunk.done, chunk.so_far);
        }
    }
}

fn tell(done: oneshot::Sender<Receipted>, receipted: Receipted) {
    if done.send(receipted).is_err() {
        tracing::debug!("nobody waits for the receipts that were written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_done_with_its_last_receipt() {
        let mut chunks = Chunks::default();
        let (done, mut answer) = oneshot::channel();
        let number = chunks.open(3, done);
        chunks.resolved(number, true);
        chunks.resolved(number, false);
        assert!(answer.try_recv().is_err());
        chunks.resolved(number, true);
        assert_eq!(answer.try_recv(), Ok(Receipted { completed: 2, idle: 1 }));
    }

    #[test]
    fn an_empty_chunk_is_done_at_once() {
        let (done, mut answer) = oneshot::channel();
        Chunks::default().open(0, done);
        assert_eq!(answer.try_recv(), Ok(Receipted::default()));
    }
}
