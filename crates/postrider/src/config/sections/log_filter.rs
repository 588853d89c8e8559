//! The syntax of `log.level`.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// Whether the text is a valid filter. `EnvFilter` reads a bare word that is no level as a target, so a misspelt
/// `info` would silence all other targets; here such a word is invalid.
pub(crate) fn is_filter(text: &str) -> bool {
    let directives = text.split(',').map(str::trim).filter(|directive| !directive.is_empty());
    let is_word = |directive: &str| !directive.contains(['=', '[', '{', '}']);
    let mut words = directives.filter(|directive| is_word(directive));
    words.all(|word| word.parse::<LevelFilter>().is_ok()) && EnvFilter::builder().parse(text).is_ok()
}
