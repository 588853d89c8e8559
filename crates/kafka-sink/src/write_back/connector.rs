//! The connection that batches are written on.

use std::future::Future;
use std::time::Duration;

use outbox::RecordPosition;
use outbox_store::{BatchOutcome, Database, RowUpdateBatch, RowWriter, StoreError};

/// Opens connections for writing.
pub(super) trait Connector: Send + 'static {
    type Writer: BatchWriter;
    fn connect(&mut self) -> impl Future<Output = Result<Connected<Self::Writer>, StoreError>> + Send;
}

/// A writer, and how far each partition has been written back.
pub(super) struct Connected<W> {
    pub(super) writer: W,
    pub(super) written: Vec<RecordPosition>,
}

/// Writes a batch durably; see [`RowWriter::write`].
pub(super) trait BatchWriter: Send + Sync + 'static {
    fn write(
        &self,
        updates: &RowUpdateBatch,
        in_doubt: bool,
    ) -> impl Future<Output = Result<BatchOutcome, StoreError>> + Send;
}

/// Connects to the database of the outbox table.
pub(super) struct PostgresConnector {
    pub(super) database: Database,
    pub(super) bucket_width: Duration,
}

impl Connector for PostgresConnector {
    type Writer = RowWriter;

    async fn connect(&mut self) -> Result<Connected<RowWriter>, StoreError> {
        let session = self.database.connect().await?;
        let writer = RowWriter::new(session, &self.database.names, self.bucket_width).await?;
        let written = writer.written_positions().await?;
        Ok(Connected { writer, written })
    }
}

impl BatchWriter for RowWriter {
    async fn write(&self, updates: &RowUpdateBatch, in_doubt: bool) -> Result<BatchOutcome, StoreError> {
        RowWriter::write(self, updates, in_doubt).await
    }
}
