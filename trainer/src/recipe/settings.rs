//! Settings of single fields, and what the parser says of them in words.

use super::check::COUNT;
use super::{LARGEST, Recipe, RecipeError};
use model::suggestion;
use toml::{Table, Value};

/// The fields that choose a rule or curve, the kind there is without them, and the fields beside them
/// that do not depend on it.
const KINDS: [(&str, &str, &[&str]); 2] = [
    ("optimizer.kind", "sgd", &["clip_value", "clip_norm", "ema", "groups"]),
    ("schedule.kind", "constant", &["warmup", "warmup_start"]),
];

/// The settings in the order in which they are made: first what chooses a rule or curve, whose other
/// fields may be set as well.
pub(super) fn in_order(settings: &[(String, String)]) -> impl Iterator<Item = &(String, String)> {
    let chooses = |(field, _): &&(String, String)| KINDS.iter().any(|(kind, ..)| kind == field);
    let rest = settings.iter().filter(move |setting| !chooses(setting));
    settings.iter().filter(chooses).chain(rest)
}

/// The section and the key of a field, and those below.
pub(super) fn keys(field: &str) -> Vec<&str> {
    field.split('.').map(str::trim).collect()
}

/// Sets `section.key` of a table. Sections that are not there are made, and a value in the place of
/// a section gives way.
pub(super) fn set(table: &mut Table, field: &str, value: &str) -> Result<(), RecipeError> {
    let mut section = table;
    let mut keys = keys(field);
    if keys.contains(&"") {
        let problem = "expected a field such as optimizer.lr".to_owned();
        return Err(RecipeError::Field { field: field.to_owned(), problem });
    }
    let last = keys.pop().expect("splitting gives at least one part");
    for key in keys {
        let entry = section.entry(key).or_insert(Value::Boolean(false));
        if !entry.is_table() {
            *entry = Value::Table(Table::new());
        }
        section = entry.as_table_mut().expect("made a table just now");
    }
    // Two ways to name the network: the one that is set takes the place of the other.
    match field {
        "model.preset" => section.remove("layers"),
        "model.layers" => section.remove("preset"),
        _ => None,
    };
    let value = value.parse().unwrap_or_else(|_| Value::String(value.to_owned()));
    // Another rule or curve takes its own defaults: what is there was chosen for the one before.
    if let Some((_, default, kept)) = KINDS.iter().find(|(kind, ..)| *kind == field)
        && section.get("kind").map_or(Some(*default), Value::as_str) != value.as_str()
    {
        section.retain(|key, _| kept.contains(&key));
    }
    section.insert(last.to_owned(), value);
    Ok(())
}

/// A setting that has no place in a recipe, by the words of the parser.
pub(super) fn wrong_setting(field: &str, value: &str, problem: &str) -> RecipeError {
    let problem = in_words(problem);
    // `seed.x`: a section where there is a value.
    let misplaced = problem.starts_with("invalid type: map");
    match problem.rsplit_once("expected ") {
        // Of a list of layers it is said which, and what is wrong with it.
        _ if problem.starts_with("layer ") => {
            RecipeError::Field { field: field.to_owned(), problem }
        }
        Some((_, expected)) if !misplaced && !problem.starts_with("unknown field") => {
            let counts = ["data.batch_size", "schedule.step_size", "stop.epochs", "stop.patience"];
            let expected = if counts.contains(&field) { COUNT } else { expected };
            RecipeError::value(field, value, expected)
        }
        _ if misplaced => {
            let problem = "there is no such field".to_owned();
            RecipeError::Field { field: field.to_owned(), problem }
        }
        _ => RecipeError::Field { field: field.to_owned(), problem },
    }
}

/// The field that the parser had this to say of: alone it gives the same message.
pub(super) fn field_at_fault(table: &Table, problem: &str) -> Option<RecipeError> {
    for (section, value) in table {
        let fields: Vec<(String, &Value)> = match value {
            Value::Table(fields) => {
                fields.iter().map(|(k, v)| (format!("{section}.{k}"), v)).collect()
            }
            value => vec![(section.clone(), value)],
        };
        for (field, value) in fields {
            let mut alone = Table::new();
            set(&mut alone, &field, &value.to_string()).ok()?;
            match alone.try_into::<Recipe>() {
                Err(error) if in_words(error.message()) == problem => {
                    return Some(wrong_setting(&field, &value.to_string(), error.message()));
                }
                _ => {}
            }
        }
    }
    None
}

/// A message of the parser without the names of Rust's types, on one line.
pub(super) fn in_words(problem: &str) -> String {
    let whole = format!("expected a whole number from 0 to {LARGEST}");
    let mut text = problem.trim().replace('\n', "; ");
    text += &suggestion_in(&text).unwrap_or_default();
    for (name, words) in [
        ("expected f64", "expected a number"),
        ("expected u64", &whole),
        ("expected usize", &whole),
        ("expected a boolean", "expected true or false"),
        ("expected a sequence", "expected a list"),
        ("expected path string", "expected a path"),
    ] {
        text = text.replace(name, words);
    }
    text
}

/// What may be meant where the parser found a name that is none of those that it expected.
fn suggestion_in(problem: &str) -> Option<String> {
    let (found, expected) = problem.strip_prefix("unknown ")?.split_once(", expected ")?;
    let quoted =
        |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<String>>();
    let (found, expected) = (quoted(found), quoted(expected));
    suggestion(found.first()?, expected.iter().map(String::as_str))
}

/// The first field in which two recipes differ, other than `except`, with the value in each.
pub(super) fn difference(
    a: &Table,
    b: &Table,
    except: &[&str],
) -> Option<(String, String, String)> {
    let (mut a, mut b) = (flatten("", a), flatten("", b));
    a.retain(|(field, _)| !except.contains(&&**field));
    b.retain(|(field, _)| !except.contains(&&**field));
    let value = |fields: &[(String, String)], field: &str| {
        let found = fields.iter().find(|(name, _)| name == field);
        found.map_or("not set".to_owned(), |(_, value)| value.clone())
    };
    let mut fields = a.iter().chain(&b).map(|(field, _)| field);
    let field = fields.find(|field| value(&a, field) != value(&b, field))?;
    Some((field.clone(), value(&a, field), value(&b, field)))
}

/// Every field as `section.key` with its value as TOML.
fn flatten(prefix: &str, table: &Table) -> Vec<(String, String)> {
    let fields = table.iter().flat_map(|(key, value)| match value {
        Value::Table(section) => flatten(&format!("{prefix}{key}."), section),
        value => vec![(format!("{prefix}{key}"), value.to_string())],
    });
    fields.collect()
}
