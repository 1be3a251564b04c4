//! A recipe as a list of fields.

use std::collections::BTreeMap;
use std::path::PathBuf;
use toml::{Table, Value};
use trainer::Recipe;

/// Every field that a recipe sets, by its path such as `optimizer.lr`.
pub(crate) fn fields(recipe: &Recipe) -> BTreeMap<String, Value> {
    flatten(Table::try_from(recipe).expect("plain values"))
}

/// Every field of a table, by its path such as `optimizer.lr`.
pub(crate) fn flatten(table: Table) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::new();
    add("", table, &mut fields);
    fields
}

fn add(section: &str, table: Table, fields: &mut BTreeMap<String, Value>) {
    for (key, value) in table {
        match value {
            Value::Table(table) => add(&format!("{section}{key}."), table, fields),
            value => _ = fields.insert(format!("{section}{key}"), value),
        }
    }
}

/// A field's value for people: a text without quotes.
pub(crate) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The recipe for a page that others read: of directories and files only the names, as paths may tell
/// who the user is.
pub(crate) fn with_names_only(recipe: &Recipe) -> Recipe {
    let mut recipe = recipe.clone();
    for path in [&mut recipe.data.directory, &mut recipe.model.weights] {
        let name = path.as_ref().and_then(|path| path.file_name()).map(PathBuf::from);
        *path = name.or_else(|| path.take());
    }
    recipe
}

/// The recipe as the files of a run have it: a path below the home directory begins with `~`, as its name may tell
/// who the user is. [`Recipe::parse`] reads it as it was.
pub(crate) fn with_home_hidden(recipe: &Recipe) -> Recipe {
    let mut recipe = recipe.clone();
    for path in [&mut recipe.data.directory, &mut recipe.model.weights].into_iter().flatten() {
        *path = files::home::shortened(path);
    }
    recipe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_names() {
        let mut recipe = Recipe::default();
        recipe.data.directory = Some("/home/alice/emnist".into());
        recipe.model.weights = Some("/home/alice/runs/a/model.safetensors".into());
        let fields = fields(&with_names_only(&recipe));
        assert_eq!(plain(&fields["data.directory"]), "emnist");
        assert_eq!(plain(&fields["model.weights"]), "model.safetensors");
        assert_eq!(fields["seed"], Value::Integer(recipe.seed as i64));
        assert!(!format!("{fields:?}").contains("alice"));
    }
}
