//! Runs of a sweep that ran before: which are kept.

use crate::{data, trained};
use dataset::Dataset;
use std::cell::Cell;
use std::fs;
use tempfile::TempDir;
use tracking::sweep::{Begun, Ended, Other};
use trainer::Recipe;

fn recipe() -> Recipe {
    data::recipe(&[("stop.epochs", "1"), ("data.batch_size", "16")])
}

fn found(path: &std::path::Path, recipe: &Recipe, data: &Dataset) -> Begun {
    Begun::find(path, recipe, || data.fingerprint()).unwrap()
}

#[test]
fn a_run_is_kept_if_recipe_and_data_are_the_same() {
    let (_first, data) = data::random(64, [1, 16, 16], 3);
    let (_second, other_data) = data::random(64, [1, 16, 16], 2);
    let scratch = TempDir::new().unwrap();
    let path = scratch.path().join("run");
    let run = trained(&recipe(), &data, &path);
    assert!(matches!(found(&path, &recipe(), &data), Begun::Entirely(Ended::Well(_))));

    let other = found(&path, &recipe(), &other_data);
    assert!(matches!(other, Begun::Other(Other::Data)), "{other:?}");
    let other = found(&path, &Recipe { seed: 77, ..recipe() }, &data);
    let Begun::Other(other) = other else { panic!("{other:?}") };
    let words = other.to_string();
    assert!(words.contains("`seed` is ") && words.ends_with(", not 77"), "{words}");

    // Without its end it is to go on, also by the word of its checkpoints alone.
    fs::remove_file(run.report()).unwrap();
    assert!(matches!(found(&path, &recipe(), &data), Begun::Partly(_)));
    fs::remove_file(run.metrics()).unwrap();
    assert!(matches!(found(&path, &recipe(), &data), Begun::Partly(_)));
    assert!(matches!(found(&path, &recipe(), &other_data), Begun::Other(Other::Data)));
    // A model of which nothing tells where it comes from.
    fs::remove_dir_all(run.checkpoints()).unwrap();
    assert!(matches!(found(&path, &recipe(), &data), Begun::Other(Other::UnknownData)));
}

/// A command that was killed anywhere before the first checkpoint is given again.
#[test]
fn what_has_left_nothing_is_begun_again() {
    let (_guard, data) = data::random(64, [1, 16, 16], 3);
    let scratch = TempDir::new().unwrap();
    let path = scratch.path().join("run");
    let asked = Cell::new(false);
    let find = || {
        let fingerprint = || {
            asked.set(true);
            data.fingerprint()
        };
        Begun::find(&path, &recipe(), fingerprint).unwrap()
    };
    assert!(matches!(find(), Begun::No));
    fs::create_dir(&path).unwrap();
    assert!(matches!(find(), Begun::No));
    fs::write(path.join("writing-x"), "half").unwrap();
    assert!(matches!(find(), Begun::No));
    fs::write(path.join("recipe.toml"), recipe().to_toml()).unwrap();
    assert!(matches!(find(), Begun::Partly(_)));
    assert!(!asked.get(), "there was nothing to compare with");
}
