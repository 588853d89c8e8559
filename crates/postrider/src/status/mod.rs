//! x
use anyhow::Result;
use clap::Args;
use crate::Config;
/// How it is told.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusArguments {
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}
pub(crate) async fn status(_config: &Config, _arguments: &StatusArguments) -> Result<()> {
    Ok(())
}
