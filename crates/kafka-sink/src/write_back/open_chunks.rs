//! Chunks of receipts that are not resolved yet.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::write_back::receipt_chunk::ChunkOutcome;

pub(super) type ChunkNumber = u64;

/// The chunks of which some receipts are not resolved yet.
#[derive(Debug, Default)]
pub(super) struct OpenChunks {
    open: HashMap<ChunkNumber, OpenChunk>,
    next: ChunkNumber,
}

#[derive(Debug)]
struct OpenChunk {
    receipts_left: usize,
    outcome: ChunkOutcome,
    done: oneshot::Sender<ChunkOutcome>,
}

impl OpenChunks {
    /// Registers a chunk of that number of receipts. An empty chunk is done at once.
    pub(super) fn open(&mut self, receipts: usize, done: oneshot::Sender<ChunkOutcome>) -> ChunkNumber {
        let number = self.next;
        self.next += 1;
        let chunk = OpenChunk { receipts_left: receipts, outcome: ChunkOutcome::default(), done };
        if receipts > 0 {
            self.open.insert(number, chunk);
        } else {
            chunk.report();
        }
        number
    }

    /// One receipt of the chunk is durable (`completed`), or changes nothing.
    pub(super) fn resolve(&mut self, number: ChunkNumber, completed: bool) {
        let Some(chunk) = self.open.get_mut(&number) else { return };
        if completed {
            chunk.outcome.completed += 1;
        } else {
            chunk.outcome.idle += 1;
        }
        chunk.receipts_left -= 1;
        if chunk.receipts_left == 0
            && let Some(chunk) = self.open.remove(&number)
        {
            chunk.report();
        }
    }
}

impl OpenChunk {
    fn report(self) {
        if self.done.send(self.outcome).is_err() {
            tracing::debug!("receipts were written after their consumer ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_is_done_with_its_last_receipt() {
        let mut chunks = OpenChunks::default();
        let (done, mut outcome) = oneshot::channel();
        let number = chunks.open(3, done);
        chunks.resolve(number, true);
        chunks.resolve(number, false);
        assert!(outcome.try_recv().is_err());
        chunks.resolve(number, true);
        assert_eq!(outcome.try_recv(), Ok(ChunkOutcome { completed: 2, idle: 1 }));
    }

    #[test]
    fn empty_chunk_is_done_at_once() {
        let (done, mut outcome) = oneshot::channel();
        OpenChunks::default().open(0, done);
        assert_eq!(outcome.try_recv(), Ok(ChunkOutcome::default()));
    }
}
