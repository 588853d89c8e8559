//! Runs a command.

use anyhow::Context;
use outbox_store::Shape;
use tracing::{info, warn};

use crate::cli::arguments::Command;
use crate::config::{Config, LoadedConfig};

/// Runs the command to its end. Logging must have been started.
///
/// # Errors
///
/// The error of the command, not yet logged.
pub fn execute(command: Command, loaded: LoadedConfig) -> anyhow::Result<()> {
    let LoadedConfig { config, warnings } = loaded;
    if command == Command::Run {
        log_start(&config);
    }
    for warning in warnings {
        warn!(%warning, "configuration");
    }
    // One thread is enough for the main loop; librdkafka has its own threads.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = match command {
        Command::Init { dry_run, partitioned } => {
            let shape = if partitioned { Shape::Monthly } else { Shape::Plain };
            runtime.block_on(crate::init::init(&config, dry_run, shape))
        }
        Command::Run => runtime.block_on(crate::relay::run(config)),
        Command::Status(arguments) => runtime.block_on(crate::status::status(&config, &arguments)),
        Command::Verify(arguments) => runtime.block_on(crate::verify::verify(&config, &arguments)),
        Command::Replay(args) => {
            let standalone = crate::relay::replay_standalone;
            runtime.block_on(crate::replay::replay(&config, args, standalone))
        }
    };
    // Dropping the runtime would wait for a pending name lookup.
    runtime.shutdown_background();
    outcome
}

fn log_start(config: &Config) {
    info!(
        version = env!("CARGO_PKG_VERSION"),
        slot = config.postgres.slot,
        publication = config.postgres.publication,
        table = %config.postgres.table,
        topic = config.routing.topic,
        brokers = config.kafka.brokers.join(","),
        "starting"
    );
}
