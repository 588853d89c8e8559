//! The `init` command.

use crate::Config;

pub(crate) async fn init(_config: &Config, _dry_run: bool) -> anyhow::Result<()> {
    anyhow::bail!("temporary")
}
