//! The recipes that come with the program, and how a recipe or a sweep is found by its name.

use super::RecipeError;
use super::settings::in_words;
use std::path::Path;

/// The recipes that come with the program: name and TOML, whose first line says what it is for.
pub(super) const RECIPES: [(&str, &str); 7] = [
    ("fast", include_str!("../../recipes/fast.toml")),
    ("paper", include_str!("../../recipes/paper.toml")),
    ("li", include_str!("../../recipes/li.toml")),
    ("cnn-bn", include_str!("../../recipes/cnn-bn.toml")),
    ("vgg", include_str!("../../recipes/vgg.toml")),
    ("resnet", include_str!("../../recipes/resnet.toml")),
    ("pictures", include_str!("../../recipes/pictures.toml")),
];

/// The text of one that is shipped, or of a TOML file.
pub fn read(name: &str, shipped: &[(&str, &str)]) -> Result<String, RecipeError> {
    if let Some((_, text)) = shipped.iter().find(|(own, _)| *own == name) {
        return Ok((*text).to_owned());
    }
    if Path::new(name).extension().is_some_and(|extension| extension == "toml") {
        return std::fs::read_to_string(name)
            .map_err(|error| RecipeError::Unreadable { path: name.to_owned(), error });
    }
    let known = shipped.iter().map(|(own, _)| *own).collect::<Vec<_>>().join(", ");
    Err(RecipeError::Unknown { name: name.to_owned(), known })
}

/// Each name with the first line of its text.
pub fn described(
    shipped: &[(&'static str, &'static str)],
) -> impl Iterator<Item = (&'static str, &'static str)> {
    shipped.iter().map(|&(name, text)| {
        (name, text.lines().next().unwrap_or_default().trim_start_matches(['#', ' ']))
    })
}

/// Where in a file the parser found what.
pub fn malformed(name: &str, text: &str, error: &toml::de::Error) -> RecipeError {
    let before = &text[..error.span().map_or(0, |span| span.start)];
    let line = 1 + before.matches('\n').count();
    RecipeError::Malformed { path: name.to_owned(), line, problem: in_words(error.message()) }
}
