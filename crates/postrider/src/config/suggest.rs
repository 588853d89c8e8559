//! What was probably meant by a name that means nothing.

/// The candidate most like the name.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |candidate: &str| {
        // The right name in the wrong section is nearer than any other name in the right one.
        let last = |dotted: &str| dotted.rsplit('.').next().unwrap_or_default().to_owned();
        let names = strsim::normalized_damerau_levenshtein(&last(name), &last(candidate));
        strsim::normalized_damerau_levenshtein(name, candidate).max(names * 0.9)
    };
    let scored = candidates.into_iter().map(|candidate| (likeness(candidate), candidate));
    scored.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, candidate)| candidate)
}

/// The candidate that the name is a slip of the pen of, if there is one.
pub(crate) fn misspelt<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const SLIP: f64 = 0.7;
    nearest(name, candidates)
        .filter(|candidate| strsim::normalized_damerau_levenshtein(name, candidate) >= SLIP)
}
