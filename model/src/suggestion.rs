//! What may be meant by a name that does not exist.

/// `; did you mean …?`, if one of these names is like the one that was found.
pub fn suggestion<'a>(found: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    // Names are in lower case.
    let found = &*found.to_lowercase();
    let similarity = |name: &str| strsim::jaro_winkler(found, name);
    let nearest = names.max_by(|a, b| similarity(a).total_cmp(&similarity(b)))?;
    // The least that clap asks for, whose measure gives no weight to how names begin.
    let few = strsim::osa_distance(found, nearest) <= 1 + found.chars().count() / 4;
    (few && strsim::jaro(found, nearest) > 0.7).then(|| format!("; did you mean `{nearest}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_near_are_meant() {
        let names = ["conv", "batch-norm", "max-pool", "avg-pool", "linear"];
        for (found, meant) in [
            ("covn", "conv"),
            ("conv2d", "conv"),
            ("Linear", "linear"),
            ("batchnorm", "batch-norm"),
            ("maxpool2d", "max-pool"),
            ("avg_pool", "avg-pool"),
        ] {
            let words = format!("; did you mean `{meant}`?");
            assert_eq!(suggestion(found, names.into_iter()), Some(words), "{found}");
        }
        for found in ["", "attention", "lstm", "x"] {
            assert_eq!(suggestion(found, names.into_iter()), None, "{found}");
        }
        assert_eq!(suggestion("conv", [].into_iter()), None);
    }
}
