//! Many runs by one command: a sweep, or several seeds.

use crate::cli::{Failure, run, say};
use crate::recipes::recipe_failure;
use crate::show::Style;
use crate::{Job, out_failure};
use std::path::{Path, PathBuf};
use trainer::sweep::{Results, Sweep, Variant, seeds as variants_of_seeds};
use trainer::{Destination, Recipe};

/// Runs a recipe for every combination of the values of a sweep.
pub fn sweep(job: &Job<'_>, name: &str) -> Result<(), Failure> {
    let fields = &job.arguments.fields;
    let sweep = Sweep::load(name).map_err(|error| recipe_failure(fields, name, error))?;
    let settings = fields.settings()?;
    let variants =
        sweep.variants(&settings).map_err(|error| recipe_failure(fields, name, error))?;
    let base = Path::new(name).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let results = all(job, variants, &base, "sweep", false)?;
    finish(job, &results)
}

/// Runs a recipe with several seeds.
pub fn seeds(job: &Job<'_>, recipe: &Recipe, base: &str, count: usize) -> Result<(), Failure> {
    let variants = variants_of_seeds(recipe, count);
    let results = all(job, variants, &format!("{base}-seeds"), "seeds", true)?;
    finish(job, &results)
}

fn finish(job: &Job<'_>, results: &Results) -> Result<(), Failure> {
    match job.style {
        Style::Quiet => {}
        Style::Json => say(&results.json()),
        Style::Plain | Style::Terminal => say(&format!("\n{}", results.text().trim_end())),
    }
    Ok(())
}

/// Runs every variant in a directory of its own. The table is written after each, so that what has
/// been done is not lost.
fn all(
    job: &Job<'_>,
    variants: Vec<Variant>,
    base: &str,
    table: &str,
    summarise: bool,
) -> Result<Results, Failure> {
    let mut runs: Vec<(Variant, Recipe)> = vec![];
    for variant in variants {
        let recipe = job.own(variant.recipe.clone())?;
        runs.push((variant, recipe));
    }
    let Some((_, first)) = runs.first() else { return Ok(Results::default()) };
    // What can be wrong with any of them is found before the first begins.
    let (data, workers) = (job.open(first)?, job.arguments.threads.start()?);
    for (variant, recipe) in &runs {
        job.trainer(recipe, &variant.name, &data, &workers)?;
    }
    let parent = job.destination(base)?.make_parent().map_err(out_failure)?;
    let mut results = Results::default();
    let count = runs.len();
    for (number, (variant, recipe)) in runs.iter().enumerate() {
        if matches!(job.style, Style::Plain | Style::Terminal) {
            say(&format!("\nrun {} of {count}: {}", number + 1, variant.name));
        }
        let path: PathBuf = parent.join(&variant.name);
        let directory = Destination::at(&path, job.arguments.force).map_err(out_failure)?;
        let directory = directory.make(recipe).map_err(out_failure)?;
        let mut trainer = job.trainer(recipe, &variant.name, &data, &workers)?;
        let outcome = job.run(&mut trainer, &directory)?;
        results.add(variant, directory.path(), &outcome);
        if summarise {
            results.summarise();
        }
        results.save(&parent, table).map_err(run)?;
    }
    Ok(results)
}
