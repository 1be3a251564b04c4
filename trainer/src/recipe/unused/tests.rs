//! Every field that a kind does not use is refused where it is set, and let through where a file has its default.

use crate::Recipe;
use crate::recipe::{OptimizerKind, ScheduleKind};
use toml::Table;

fn load(list: &[(&str, &str)]) -> Result<Recipe, String> {
    let list: Vec<_> = list.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    Recipe::load("paper", &list).map_err(|error| {
        assert!(error.to_string().contains(&format!("`{}`", error.field().unwrap())), "{error}");
        error.to_string()
    })
}

/// For each field of optimisers the kinds that use it; another list than the code's, after docs/recipes.md.
const OPTIMIZER: [(&str, &str, &str); 9] = [
    ("momentum", "0.5", "sgd rmsprop"),
    ("nesterov", "true", "sgd"),
    ("weight_decay", "0.1", "sgd adam adamw rmsprop adagrad"),
    ("betas", "[0.8, 0.9]", "adam adamw"),
    ("eps", "1e-6", "adam adamw rmsprop adagrad"),
    ("alpha", "0.9", "rmsprop"),
    ("centered", "true", "rmsprop"),
    ("lr_decay", "0.1", "adagrad"),
    ("initial_accumulator", "0.1", "adagrad"),
];

const SCHEDULE: [(&str, &str, &str); 14] = [
    ("step_size", "2", "step"),
    ("milestones", "[2, 3]", "multi-step"),
    ("gamma", "0.5", "step multi-step exponential"),
    ("min_lr", "1e-5", "cosine polynomial plateau"),
    ("power", "2.0", "polynomial"),
    ("rise", "0.4", "one-cycle"),
    ("start_divisor", "10.0", "one-cycle"),
    ("end_divisor", "10.0", "one-cycle"),
    ("factors", "[1.0, 0.5]", "list"),
    ("by_step", "true", "list"),
    ("factor", "0.5", "plateau"),
    ("patience", "3", "plateau"),
    ("threshold", "0.1", "plateau"),
    (
        "warmup",
        "1.0",
        "constant step multi-step exponential cosine polynomial one-cycle list plateau",
    ),
];

/// Sets the field in every way: by a setting of its own, by its section, in a file.
fn check(section: &str, kind: &str, (key, value, users): (&str, &str, &str)) {
    let field = format!("{section}.{key}");
    let used = users.split(' ').any(|user| user == kind);
    // What a kind cannot do without.
    let (own, list) = match kind {
        "multi-step" => ("milestones", "[2]"),
        "list" => ("factors", "[1.0]"),
        _ => (key, ""),
    };
    let needed = if own == key { String::new() } else { format!("{own} = {list}") };
    let of_kind = [("data.validation", "100"), (&*format!("{section}.kind"), kind)];
    let own = [(&*format!("{section}.{own}"), list)];
    let needs: &[(&str, &str)] = if needed.is_empty() { &[] } else { &own };
    let by_field = load(&[&of_kind[..], needs, &[(&field, value)]].concat());
    let table = format!("{{ kind = '{kind}', {key} = {value}, {needed} }}");
    let by_section = load(&[("data.validation", "100"), (section, &table)]);
    let text =
        format!("data.validation = 100\n[{section}]\nkind = '{kind}'\n{key} = {value}\n{needed}");
    let by_file = Recipe::parse("r.toml", &text, &[]).map_err(|error| error.to_string());
    let only = format!("`{}`", users.replace(' ', "`, `"));
    let only = match only.rsplit_once(", ") {
        Some((others, last)) => format!("only {others} and {last} do"),
        None => format!("only {only} does"),
    };
    let words = format!("`{field}` would have no effect: `{kind}` does not use it, {only}");
    for (way, found) in [("field", by_field), ("section", by_section), ("file", by_file)] {
        match found {
            Ok(_) => assert!(used, "{way}: {kind} {field}"),
            Err(error) => assert_eq!((used, &error), (false, &words), "{way}: {kind} {field}"),
        }
    }
}

#[test]
fn fields_of_another_kind_are_refused() {
    for kind in OptimizerKind::ALL {
        OPTIMIZER.iter().for_each(|&field| check("optimizer", kind.word(), field));
    }
    for kind in ScheduleKind::ALL {
        SCHEDULE.iter().for_each(|&field| check("schedule", kind.word(), field));
    }
}

/// A setting is meant, even of the default; what files have is what was written beside another kind.
#[test]
fn defaults_of_another_kind_are_no_fault_of_a_file() {
    let error = load(&[("optimizer.kind", "adam"), ("optimizer.momentum", "0.9")]).unwrap_err();
    assert!(error.contains("only `sgd` and `rmsprop` do"), "{error}");
    let error = load(&[("schedule.kind", "one-cycle"), ("schedule.gamma", "0.1")]).unwrap_err();
    assert!(error.contains("only `step`, `multi-step` and `exponential` do"), "{error}");
    for kind in OptimizerKind::ALL {
        let text = format!(
            "[optimizer]\nkind = '{kind}'\nmomentum = 0.9\nnesterov = false\nbetas = [0.9, 0.999]\n\
             eps = 1e-8\nalpha = 0.99\ncentered = false\nlr_decay = 0.0\ninitial_accumulator = 0.0"
        );
        let recipe = Recipe::parse("r.toml", &text, &[]).unwrap();
        // Again from the file of a run, and with another kind set over it.
        Recipe::parse("recipe.toml", &recipe.to_toml(), &[]).unwrap();
        for other in OptimizerKind::ALL {
            let set = [("optimizer.kind".to_owned(), other.to_string())];
            Recipe::parse("recipe.toml", &recipe.to_toml(), &set).unwrap();
        }
    }
}

#[test]
fn fields_that_need_another_are_refused_alone() {
    for (list, words) in [
        (&[("augment.erase_area", "[0.1, 0.2]")][..], "`augment.erase` is 0"),
        (&[("schedule.warmup_start", "0.1")], "`schedule.warmup` is 0"),
        (&[("stop.min_delta", "0.1")], "`stop.patience` is not set"),
        (
            &[("data.validation", "none"), ("stop.monitor", "accuracy")],
            "`data.validation` is \"none\"",
        ),
        (
            &[("data.validation", "none"), ("events.validate", "{ epochs = 2 }")],
            "`data.validation` is \"none\"",
        ),
    ] {
        let error = load(list).unwrap_err();
        assert!(error.ends_with(&format!("would have no effect: {words}")), "{error}");
    }
    // One of the values of a sweep, and what a run of it leaves.
    let off = load(&[("augment.erase", "0.0"), ("augment.erase_area", "[0.1, 0.2]")]).unwrap();
    Recipe::parse("recipe.toml", &off.to_toml(), &[]).unwrap();
    load(&[("augment.erase", "0.5"), ("augment.erase_area", "[0.1, 0.2]")]).unwrap();
    load(&[("schedule.warmup", "1"), ("schedule.warmup_start", "0.1")]).unwrap();
    let held_out = ("data.validation", "100");
    load(&[held_out, ("stop.patience", "2"), ("stop.min_delta", "0.1")]).unwrap();
    let group = "[{ match = '*', frozen = true, lr_scale = 0.5 }]";
    let error = load(&[("optimizer.groups", group)]).unwrap_err();
    assert!(error.contains("`optimizer.groups.frozen` is true: expected false"), "{error}");
}

/// Defaults that depend on the kind are written, so that a run is the same if they change.
#[test]
fn what_is_written_is_complete() {
    for (kind, lines) in [
        ("sgd", &["momentum = 0.9", "weight_decay = 0.0"][..]),
        ("adam", &["weight_decay = 0.0", "eps = 1e-8"]),
        ("adamw", &["weight_decay = 0.01", "eps = 1e-8"]),
        ("rmsprop", &["momentum = 0.0", "eps = 1e-8"]),
        ("adagrad", &["eps = 1e-10", "weight_decay = 0.0"]),
    ] {
        let recipe = Recipe::parse("r.toml", &format!("optimizer.kind = '{kind}'"), &[]).unwrap();
        let text = recipe.to_toml();
        let table: Table = toml::from_str(&text).unwrap();
        let section = table["optimizer"].as_table().unwrap();
        for line in lines {
            let fields: Table = toml::from_str(line).unwrap();
            let field = fields.iter().next().unwrap();
            assert_eq!(section.get(field.0), Some(field.1), "{kind}: {text}");
        }
        assert_eq!(section.contains_key("momentum"), ["sgd", "rmsprop"].contains(&kind), "{text}");
        // Files written earlier say less, and are the same recipe.
        assert_eq!(recipe.difference(&Recipe::parse("r", &text, &[]).unwrap(), &[]), None);
    }
}
