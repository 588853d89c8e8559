//! Waiting for the end of a request.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Result, bail};
use outbox_store::{Database, ReplayRequest, ReplayWatch, StoreError};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::replay::progress::ProgressDisplay;

/// A notification may be lost with its connection, so the request is read again after this time.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(5);

const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Shows the progress of a request until it is finished.
///
/// # Errors
///
/// The request was deleted, or the database rejects a query. Outages are retried.
pub(super) async fn follow(
    database: &Database,
    id: Uuid,
    progress: &mut ProgressDisplay,
) -> Result<ReplayRequest> {
    let mut watch = None;
    loop {
        match read(database, id, &mut watch).await {
            Ok(Some(request)) => {
                progress.show(&request);
                if request.state.is_finished() {
                    return Ok(request);
                }
            }
            Ok(None) => bail!("replay {id} was deleted from postrider.replay"),
            Err(error) if !error.is_retryable() => return Err(error.into()),
            Err(_) => {
                watch = None;
                sleep(RECONNECT_PAUSE).await;
                continue;
            }
        }
        if let Some(watch) = &mut watch {
            let _ = timeout(READ_AGAIN_AFTER, watch.changed()).await;
        }
    }
}

/// Shows the progress of a request, without an end.
pub(super) async fn show(database: &Database, id: Uuid, progress: &mut ProgressDisplay) -> Infallible {
    let _ = follow(database, id, progress).await;
    std::future::pending().await
}

async fn read(
    database: &Database,
    id: Uuid,
    watch: &mut Option<ReplayWatch>,
) -> Result<Option<ReplayRequest>, StoreError> {
    let watch = match watch {
        Some(watch) => watch,
        None => watch.insert(ReplayWatch::new(database, id).await?),
    };
    watch.request().await
}
