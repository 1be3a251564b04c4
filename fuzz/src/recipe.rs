//! A recipe, and after a line `---` what `--set` is given.

use super::refused;
use trainer::Recipe;

/// A recipe that is taken is written, and read again.
pub fn target(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    // Another file: a target of its own, and it could be a pipe.
    if text.contains("weights") {
        return false;
    }
    let (recipe, settings) = text.split_once("\n---\n").unwrap_or((text, ""));
    let settings: Vec<(String, String)> = settings
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(field, value)| (field.trim().to_owned(), value.to_owned()))
        .collect();
    match Recipe::parse("own.toml", recipe, &settings) {
        Ok(recipe) => {
            let text = recipe.to_toml();
            let again = Recipe::parse("recipe.toml", &text, &[]).expect("what was written is read");
            assert_eq!(again.to_toml(), text);
            assert_eq!(recipe.difference(&again, &[]), None);
            assert!(recipe.shard() > 0);
            true
        }
        Err(error) => refused(error),
    }
}
