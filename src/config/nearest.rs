//! The name that was probably meant.

/// The candidate nearest to `text` by edits, unless none is near enough to be meant.
pub(crate) fn find<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = text.to_lowercase();
    let length = lower.chars().count();
    candidates
        // So many edits it takes at least, and what is far longer takes long to compare.
        .filter(|name| length.abs_diff(name.len()) <= enough(name))
        .map(|name| (strsim::damerau_levenshtein(&lower, &name.to_lowercase()), name))
        .min()
        .filter(|(edits, name)| *edits <= enough(name))
        .map(|(_, name)| name)
}

/// How many edits a name may be away; names are ASCII.
fn enough(name: &str) -> usize {
    (name.len() / 2).max(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_name_and_nonsense_finds_none() {
        let names = || ["route_stats", "word_count"].into_iter();
        assert_eq!(find("rout_stats", names()), Some("route_stats"));
        assert_eq!(find("WORD-COUNT", names()), Some("word_count"));
        assert_eq!(find("xyz", names()), None);
    }

    /// It used to take as long as both are long together.
    #[test]
    fn a_long_text_is_compared_with_nothing() {
        let text = "parallelism.default".repeat(1 << 20);
        assert_eq!(find(&text, std::iter::repeat_n("parallelism.default", 1000)), None);
    }
}
