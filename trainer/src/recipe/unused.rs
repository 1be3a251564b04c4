//! Fields that a recipe makes no use of: what is set in them would be ignored.

use super::settings::keys;
use super::{
    AugmentSection, EventsSection, OptimizerKind, OptimizerSection, Recipe, RecipeError,
    ScheduleKind, ScheduleSection, StopSection, Validation, ValidationSet,
};
use serde::Serialize;
use std::fmt::Display;
use toml::{Table, Value};

/// The fields that not every kind of optimiser uses, with the kinds that do.
const OPTIMIZER: [(&str, &[OptimizerKind]); 8] = {
    use OptimizerKind::{Adagrad, Adam, Adamw, Rmsprop, Sgd};
    [
        ("momentum", &[Sgd, Rmsprop]),
        ("nesterov", &[Sgd]),
        ("betas", &[Adam, Adamw]),
        ("eps", &[Adam, Adamw, Rmsprop, Adagrad]),
        ("alpha", &[Rmsprop]),
        ("centered", &[Rmsprop]),
        ("lr_decay", &[Adagrad]),
        ("initial_accumulator", &[Adagrad]),
    ]
};

/// The same for schedules.
const SCHEDULE: [(&str, &[ScheduleKind]); 13] = {
    use ScheduleKind::{Cosine, Exponential, List, MultiStep, OneCycle, Plateau, Polynomial, Step};
    [
        ("step_size", &[Step]),
        ("milestones", &[MultiStep]),
        ("gamma", &[Step, MultiStep, Exponential]),
        ("min_lr", &[Cosine, Polynomial, Plateau]),
        ("power", &[Polynomial]),
        ("rise", &[OneCycle]),
        ("start_divisor", &[OneCycle]),
        ("end_divisor", &[OneCycle]),
        ("factors", &[List]),
        ("by_step", &[List]),
        ("factor", &[Plateau]),
        ("patience", &[Plateau]),
        ("threshold", &[Plateau]),
    ]
};

/// Fields that do nothing unless another one, whose default is 0, is set too.
const WITH_ANOTHER: [(&str, &str); 2] =
    [("augment.erase_area", "augment.erase"), ("schedule.warmup_start", "schedule.warmup")];

/// An error if a field that is not used has another value than its default.
pub(super) fn check_values(recipe: &Recipe) -> Result<(), RecipeError> {
    let section = |kind| OptimizerSection { kind, ..OptimizerSection::default() };
    let optimizer = &recipe.optimizer;
    check_section("optimizer", optimizer, optimizer.kind, &OPTIMIZER, section)?;
    let section = |kind| ScheduleSection { kind, ..ScheduleSection::default() };
    let schedule = &recipe.schedule;
    check_section("schedule", schedule, schedule.kind, &SCHEDULE, section)?;
    let (stop, events) = (StopSection::default(), EventsSection::default());
    if recipe.stop.patience.is_none() && recipe.stop.min_delta != stop.min_delta {
        return Err(unused("stop.min_delta", "`stop.patience` is not set"));
    }
    if recipe.data.stratify && !recipe.may_select() {
        return Err(unused("data.stratify", "`data.validation` holds no training images out"));
    }
    let (augment, none) = (&recipe.augment, AugmentSection::default());
    if augment.crop_ratio != none.crop_ratio && augment.crop_area == none.crop_area {
        return Err(unused("augment.crop_ratio", "`augment.crop_area` is all of the image"));
    }
    let moves = augment.shift > 0 || augment.rotate > 0.0 || augment.trivial;
    if augment.fill != none.fill && !moves {
        let reason = "neither `augment.shift` nor `rotate` nor `trivial` is set";
        return Err(unused("augment.fill", reason));
    }
    let validates = recipe.data.validation != Validation::Named(ValidationSet::None);
    for (field, differs) in [
        ("stop.monitor", recipe.stop.monitor != stop.monitor),
        ("events.validate", recipe.events.validate != events.validate),
    ] {
        if differs && !validates {
            return Err(unused(field, "`data.validation` is \"none\""));
        }
    }
    Ok(())
}

fn check_section<K: Kind, S: Serialize>(
    name: &str,
    section: &S,
    kind: K,
    fields: &[(&str, &[K])],
    default: impl Fn(K) -> S,
) -> Result<(), RecipeError> {
    let table = |section: &S| Table::try_from(section).expect("plain values");
    let own = table(section);
    for &(key, kinds) in fields.iter().filter(|(_, kinds)| !kinds.contains(&kind)) {
        let is_default =
            |value: &Value| kinds.iter().any(|&kind| table(&default(kind)).get(key) == Some(value));
        if own.get(key).is_some_and(|value| !is_default(value)) {
            return Err(unused(&format!("{name}.{key}"), of_others(kind, kinds)));
        }
    }
    Ok(())
}

/// An error if a setting is of a field that is not used, whatever its value; `table` is the recipe as it was
/// written and set.
pub(super) fn check_settings(
    recipe: &Recipe,
    table: &Table,
    settings: &[(String, String)],
) -> Result<(), RecipeError> {
    for field in settings.iter().flat_map(|(field, value)| fields(field, value)) {
        let reason = match field.split_once('.') {
            Some(("optimizer", key)) => of_another(key, recipe.optimizer.kind, &OPTIMIZER),
            Some(("schedule", key)) => of_another(key, recipe.schedule.kind, &SCHEDULE),
            _ => None,
        };
        reason.map_or(Ok(()), |reason| Err(unused(&field, reason)))?;
    }
    let is_set = |field: &str| {
        let (section, key) = field.split_once('.').expect("fields of sections");
        table.get(section).is_some_and(|section| section.get(key).is_some())
    };
    for (field, needed) in WITH_ANOTHER {
        if is_set(field) && !is_set(needed) {
            return Err(unused(field, format!("`{needed}` is 0")));
        }
    }
    Ok(())
}

/// The fields that a setting is of: of a whole section each that it has.
fn fields(field: &str, value: &str) -> Vec<String> {
    let field = keys(field).join(".");
    match value.parse() {
        Ok(Value::Table(section)) if !field.contains('.') => {
            section.keys().map(|key| format!("{field}.{key}")).collect()
        }
        _ => vec![field],
    }
}

fn of_another<K: Kind>(key: &str, kind: K, fields: &[(&str, &[K])]) -> Option<String> {
    let (_, kinds) = fields.iter().find(|(name, _)| *name == key)?;
    (!kinds.contains(&kind)).then(|| of_others(kind, kinds))
}

fn of_others<K: Kind>(kind: K, kinds: &[K]) -> String {
    let names: Vec<String> = kinds.iter().map(ToString::to_string).collect();
    let (last, others) = names.split_last().expect("every field is used by some kind");
    match others {
        [] => format!("`{kind}` does not use it, only `{last}` does"),
        others => {
            format!("`{kind}` does not use it, only `{}` and `{last}` do", others.join("`, `"))
        }
    }
}

fn unused(field: &str, reason: impl Into<String>) -> RecipeError {
    RecipeError::Unused { field: field.to_owned(), reason: reason.into() }
}

trait Kind: Copy + PartialEq + Display {}

impl<K: Copy + PartialEq + Display> Kind for K {}

#[cfg(test)]
mod tests;
