//! The syntax of `log.level`.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// Whether it says what to log. A bare word that is no level would be taken for the name of a part, and a
/// misspelt `info` would silence everything else.
pub(crate) fn is_filter(text: &str) -> bool {
    let directives = text.split(',').map(str::trim).filter(|directive| !directive.is_empty());
    let is_word = |directive: &str| !directive.contains(['=', '[', '{', '}']);
    let mut words = directives.filter(|directive| is_word(directive));
    words.all(|word| word.parse::<LevelFilter>().is_ok()) && EnvFilter::builder().parse(text).is_ok()
}
