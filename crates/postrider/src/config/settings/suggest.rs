//! Suggestions for unknown names.

/// The candidate most similar to the name.
pub(crate) fn most_similar<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let similarity = |candidate: &str| {
        // The right name in the wrong section beats other names in the right section.
        let last = |dotted: &str| dotted.rsplit('.').next().unwrap_or_default().to_owned();
        let names = strsim::normalized_damerau_levenshtein(&last(name), &last(candidate));
        strsim::normalized_damerau_levenshtein(name, candidate).max(names * 0.9)
    };
    let scored = candidates.into_iter().map(|candidate| (similarity(candidate), candidate));
    scored.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, candidate)| candidate)
}

/// The candidate that the name is probably a typo of, if any.
pub(crate) fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const SIMILARITY_MIN: f64 = 0.7;
    most_similar(name, candidates)
        .filter(|candidate| strsim::normalized_damerau_levenshtein(name, candidate) >= SIMILARITY_MIN)
}
