//! The program. Exit codes: 0 fine, 1 failed, 2 usage error, 64 bad configuration.

use std::process::ExitCode;

use postrider::{Cli, Config, ConfigSource, execute, start_logging};
use tracing::error;

/// `EX_USAGE` of sysexits.h.
const BAD_CONFIGURATION: u8 = 64;

fn main() -> ExitCode {
    let cli = Cli::parse_checked();
    let loaded = match Config::load(&ConfigSource::of_this_process(cli.config)) {
        Ok(loaded) => loaded,
        Err(bad) => {
            eprintln!("postrider: {bad}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    if let Err(error) = start_logging(&loaded.config.log) {
        eprintln!("postrider: {error:#}");
        return ExitCode::FAILURE;
    }
    match execute(cli.command, loaded) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let error = format!("{error:#}");
            error!(%error, "failed");
            ExitCode::FAILURE
        }
    }
}
