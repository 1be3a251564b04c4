//! Which settings hold for which parameter.

use crate::recipe::{Group, OptimizerSection, RecipeError};
use kernels::LANES;
use model::{Network, Parameter};
use std::ops::Range;

/// Neighbouring parameters with the same settings: one pass updates them all. The gaps between them
/// are zero and stay so.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Span {
    /// Of the flat buffer.
    pub range: Range<usize>,
    pub lr_scale: f64,
    pub weight_decay: f64,
}

/// The parameters that are trained, in as few spans as can be; frozen ones are in none.
///
/// # Errors
/// If a group matches no parameter.
pub(super) fn spans(
    section: &OptimizerSection,
    network: &Network,
) -> Result<Vec<Span>, RecipeError> {
    let trained: Vec<&Parameter> =
        network.parameters().iter().filter(|p| p.role.is_trained()).collect();
    for group in &section.groups {
        if !trained.iter().any(|p| matches(&group.pattern, &p.name)) {
            return Err(matches_none(group, &trained));
        }
    }
    let mut spans: Vec<Span> = vec![];
    for parameter in trained {
        let group = section.groups.iter().find(|g| matches(&g.pattern, &parameter.name));
        if group.is_some_and(|group| group.frozen) {
            continue;
        }
        let start = parameter.place.offset;
        let span = Span {
            range: start..(start + parameter.place.len).next_multiple_of(LANES),
            lr_scale: group.map_or(1.0, |group| group.lr_scale),
            weight_decay: group
                .and_then(|group| group.weight_decay)
                .unwrap_or_else(|| section.weight_decay()),
        };
        match spans.last_mut() {
            Some(last)
                if last.range.end == start
                    && last.lr_scale == span.lr_scale
                    && last.weight_decay == span.weight_decay =>
            {
                last.range.end = span.range.end;
            }
            _ => spans.push(span),
        }
    }
    Ok(spans)
}

fn matches_none(group: &Group, trained: &[&Parameter]) -> RecipeError {
    let names: Vec<&str> = trained.iter().map(|p| &*p.name).collect();
    RecipeError::Field {
        field: "optimizer.groups".to_owned(),
        problem: format!(
            "match = {:?} matches no parameter: expected a pattern for some of {}",
            group.pattern,
            names.join(", ")
        ),
    }
}

/// Whether a name is that of a pattern, where `*` stands for any text and `?` for any character.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // The place after the last star, and where in the name its text ends so far.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                p += 1;
                star = Some((p, n));
            }
            Some(c) if *c == '?' || *c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((after, end)) => {
                    (p, n) = (after, end + 1);
                    star = Some((after, n));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        for (pattern, name) in [
            ("conv1.weight", "conv1.weight"),
            ("*", "conv1.weight"),
            ("*", ""),
            ("**", "a"),
            ("*.bias", "7.body.4.bias"),
            ("conv?.weight", "conv1.weight"),
            ("7.*", "7.body.4.bias"),
            ("*.body.*.weight", "7.body.1.weight"),
            ("*a*ab", "aaaab"),
            ("*ä?", "xäö"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("", "a"),
            ("conv1", "conv1.weight"),
            ("weight", "conv1.weight"),
            ("conv?.weight", "conv.weight"),
            ("conv?.weight", "conv12.weight"),
            ("*.bias", "bias"),
            ("*a*ab", "aaaaba"),
            ("?", ""),
            ("Conv1.*", "conv1.weight"),
            ("[c]onv1.*", "conv1.weight"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        // No pattern takes long.
        assert!(!matches(&"*a".repeat(50), &"a".repeat(40)));
    }
}
