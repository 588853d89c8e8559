use std::io::{self, IsTerminal};

use anyhow::{Result, bail};
use outbox_store::{
    Cancellation, Database, Names, ReplayKind, ReplayRequest, ReplayState, Selection, Session, cancel_replay,
    has_created_at, is_anything_selected, preview_replay, request_replay, request_skip, slot_state,
    unfinished_replays,
};
use uuid::Uuid;

use crate::config::Config;
use crate::relay::StandaloneOutcome;
use crate::replay::args::{ReplayAction, ReplayArgs};
use crate::replay::dry_run::{self, counted};
use crate::replay::follow::{follow, show};
use crate::replay::progress::ProgressDisplay;
use crate::stdout::print;

/// Unfinished requests that are read.
const REQUESTS_MAX: usize = 1000;

/// Executes the command. Where no relay is running, `standalone` takes the slot and executes the request and those
/// before it.
///
/// # Errors
///
/// Nothing can be requested, or the request failed or was cancelled.
pub(crate) async fn replay(
    config: &Config,
    args: ReplayArgs,
    standalone: impl AsyncFnOnce(&Config, Uuid) -> Result<StandaloneOutcome>,
) -> Result<()> {
    if !config.writeback {
        bail!(
            "with writeback.enabled = false rows have no delivery state, and there is no schema postrider for replay \
             requests; enable write-back, run `postrider init`, then replay"
        );
    }
    let postgres = &config.postgres;
    let (names, tls) = (config.names(), postgres.tls.clone());
    let database = Database { config: postgres.connection.clone(), tls, names };
    let names = &database.names;
    let session = database.connect().await?;
    let (id, has_relay) = match args.action {
        ReplayAction::Cancel(id) => return cancel(&session, names, id).await,
        ReplayAction::DryRun { selection } => return preview(&session, names, config, &selection).await,
        ReplayAction::Skip(row) => {
            let has_relay = has_relay(&session, &names.slot).await?;
            let Some(id) = request_skip(&session, names, row).await? else {
                bail!(
                    "no rows are held behind row {row}: only a row that failed under failure.policy = \"hold\" and has \
                     other rows of its key waiting behind it can be skipped; `postrider status` lists them"
                );
            };
            (id, has_relay)
        }
        ReplayAction::Replay { selection, rows_per_second } => {
            check_times(&session, names, &selection).await?;
            if !is_anything_selected(&session, names, &selection).await? {
                print(&format!("no row of {} matches; nothing was requested\n", names.table));
                return Ok(());
            }
            let has_relay = has_relay(&session, &names.slot).await?;
            let interrupted = match has_relay {
                true => None,
                false => interrupted(&session, names, &selection, rows_per_second).await?,
            };
            let id = match interrupted {
                Some(id) => {
                    eprintln!("resuming replay {id}, which has the same selection and was interrupted");
                    id
                }
                None => request_replay(&session, names, &selection, rows_per_second).await?,
            };
            (id, has_relay)
        }
    };
    drop(session);
    let wait = args.wait.unwrap_or_else(|| io::stderr().is_terminal() || io::stdout().is_terminal());
    run_request(config, &database, id, has_relay, wait, standalone).await
}

async fn run_request(
    config: &Config,
    database: &Database,
    id: Uuid,
    has_relay: bool,
    wait: bool,
    standalone: impl AsyncFnOnce(&Config, Uuid) -> Result<StandaloneOutcome>,
) -> Result<()> {
    let mut progress = ProgressDisplay::new();
    let mut is_executed = false;
    if !has_relay {
        print_earlier_requests(database, id).await?;
        let outcome = tokio::select! {
            biased;
            outcome = standalone(config, id) => outcome?,
            never = show(database, id, &mut progress) => match never {},
        };
        match outcome {
            StandaloneOutcome::Ended => is_executed = true,
            StandaloneOutcome::Interrupted => bail!(
                "interrupted; replay {id} resumes when the relay starts or the same command is run again. To cancel it: \
                 postrider replay --cancel {id}"
            ),
            StandaloneOutcome::SlotInUse => {}
        }
    }
    if !wait && !is_executed {
        drop(progress);
        print(&format!(
            "requested replay {id}; the relay executes it. `postrider status` shows its progress, \
             `postrider replay --cancel {id}` cancels it\n"
        ));
        return Ok(());
    }
    let request = tokio::select! {
        request = follow(database, id, &mut progress) => request?,
        _ = tokio::signal::ctrl_c() => {
            drop(progress);
            bail!(
                "no longer waiting; the relay continues replay {id}. `postrider status` shows its progress, \
                 `postrider replay --cancel {id}` cancels it"
            );
        }
    };
    drop(progress);
    print_result(&request)
}

async fn print_earlier_requests(database: &Database, id: Uuid) -> Result<()> {
    let session = database.connect().await?;
    let unfinished = unfinished_replays(&session, &database.names.slot, REQUESTS_MAX).await?;
    let earlier: Vec<String> = unfinished
        .iter()
        .take_while(|request| request.id != id)
        .map(|request| request.id.to_string())
        .collect();
    if !earlier.is_empty() {
        eprintln!(
            "earlier unfinished replays are executed first: {}. To cancel one: postrider replay --cancel ID",
            earlier.join(", ")
        );
    }
    Ok(())
}

fn print_result(request: &ReplayRequest) -> Result<()> {
    let ReplayRequest { id, state, progress, .. } = request;
    match (&request.kind, state) {
        (ReplayKind::Skip(row), ReplayState::Done) => {
            print(&format!("skipped row {row}; the rows held behind it are released\n"));
        }
        (ReplayKind::Skip(_), _) => {}
        (ReplayKind::Replay { .. }, _) => print(&format!(
            "replay {id}: {} sent, {} failed, {} passed over\n",
            progress.sent, progress.failed, progress.passed
        )),
    }
    match state {
        ReplayState::Done if progress.failed > 0 => bail!(
            "{} failed; see last_error of each (`postrider status` lists FAILED rows)",
            counted(progress.failed, "row")
        ),
        ReplayState::Done => Ok(()),
        ReplayState::Cancelled => bail!("replay {id} was cancelled"),
        _ => {
            bail!("replay {id} failed: {}", request.last_error.as_deref().unwrap_or("no reason is recorded"))
        }
    }
}

async fn cancel(session: &Session, names: &Names, id: Uuid) -> Result<()> {
    match cancel_replay(session, &names.slot, id).await? {
        Cancellation::Cancelled => {
            print(&format!("cancelled replay {id}; rows in flight are still sent\n"));
            Ok(())
        }
        Cancellation::AlreadyFinished(state) => {
            bail!("replay {id} cannot be cancelled: it is {state} already")
        }
        Cancellation::NotFound => {
            bail!("slot {} has no replay {id}; `postrider status` lists the unfinished replays", names.slot)
        }
    }
}

async fn preview(session: &Session, names: &Names, config: &Config, selection: &Selection) -> Result<()> {
    check_times(session, names, selection).await?;
    let routing = &config.routing.compiled;
    let (topic, key): (Vec<_>, Vec<_>) = (routing.topic_parts().collect(), routing.key_parts().collect());
    let preview = preview_replay(session, names, selection, &topic, &key).await?;
    print(&dry_run::text(&preview));
    Ok(())
}

async fn check_times(session: &Session, names: &Names, selection: &Selection) -> Result<()> {
    let has_times = selection.from_us.is_some() || selection.to_us.is_some();
    if has_times && !has_created_at(session, names).await? {
        bail!(
            "{} has no column {}, so --from and --to select nothing; leave them out, or map columns.created_at",
            names.table,
            names.columns.created_at
        );
    }
    Ok(())
}

/// Whether a relay holds the slot.
async fn has_relay(session: &Session, slot: &str) -> Result<bool> {
    match slot_state(session, slot).await? {
        Some(state) => Ok(state.active),
        None => bail!("there is no slot {slot}, so no relay can execute a replay; run `postrider init`"),
    }
}

/// An unfinished request with the same selection. Without a relay nothing executes it.
async fn interrupted(
    session: &Session,
    names: &Names,
    wanted: &Selection,
    rate: Option<u32>,
) -> Result<Option<Uuid>> {
    let unfinished = unfinished_replays(session, &names.slot, REQUESTS_MAX).await?;
    let is_same = |request: &&ReplayRequest| match &request.kind {
        ReplayKind::Replay { selection, rows_per_second, .. } => {
            selection == wanted && *rows_per_second == rate
        }
        ReplayKind::Skip(_) => false,
    };
    Ok(unfinished.iter().find(is_same).map(|request| request.id))
}
