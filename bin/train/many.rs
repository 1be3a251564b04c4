//! Many runs by one command: a sweep, or several seeds.

use crate::cli::{Failure, run, say, usage};
use crate::job::{Job, out_failure, quoted, word};
use crate::recipes::recipe_failure;
use crate::show::Style;
use crate::whole;
use std::path::{Path, PathBuf};
use trainer::sweep::{Begun, Ended, Results, Sweep, Variant, seeds as variants_of_seeds};
use trainer::{
    CheckpointError, Checkpoints, Dataset, Destination, Outcome, Recipe, RecipeError, RunDirectory,
    TrainError, Workers,
};

/// Runs a recipe for every combination of the values of a sweep.
pub fn sweep(job: &Job<'_>, name: &str) -> Result<(), Failure> {
    let fields = &job.arguments.fields;
    let failure = |error| recipe_failure(fields, name, error);
    let sweep = Sweep::load(name).map_err(|error| match error {
        RecipeError::Unknown { name, known } => {
            usage(format!("unknown sweep `{name}`: expected {known}, or a TOML file"))
        }
        error => failure(error),
    });
    let variants = sweep?.variants(&fields.settings()?);
    let base = Path::new(name).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Many::new(job, variants.map_err(failure)?, name, &base)?.run("sweep")
}

/// Runs a recipe with several seeds.
pub fn seeds(job: &Job<'_>, recipe: &Recipe, base: &str, count: usize) -> Result<(), Failure> {
    Many::new(job, variants_of_seeds(recipe, count), base, &format!("{base}-seeds"))?.run("seeds")
}

struct Many<'a> {
    job: &'a Job<'a>,
    name: &'a str,
    data: Dataset,
    workers: Workers,
    /// Where the directories of the runs are.
    parent: PathBuf,
    runs: Vec<(Variant, Begun)>,
}

impl<'a> Many<'a> {
    /// What can be wrong with any of the runs is found here, before the first begins.
    fn new(
        job: &'a Job<'a>,
        mut variants: Vec<Variant>,
        name: &'a str,
        base: &str,
    ) -> Result<Many<'a>, Failure> {
        for variant in &mut variants {
            variant.recipe = job.own(variant.recipe.clone())?;
        }
        let first = variants.first().ok_or_else(|| Failure::Usage("no runs".to_owned()))?;
        let (data, workers) = (job.open(&first.recipe)?, job.arguments.threads.start()?);
        for variant in &variants {
            job.trainer(&variant.recipe, name, &data, &workers)?;
        }
        let (out, force) = (&job.arguments.out, job.arguments.force);
        // A directory that has some of the runs is that of the same command, which goes on.
        let is_ours = |out: &PathBuf| variants.iter().any(|v| out.join(&v.name).exists());
        let destination = match out.as_ref().filter(|out| is_ours(out)) {
            Some(out) => Destination::shared(out, true).map_err(out_failure)?,
            None => job.destination(base, Destination::shared)?,
        };
        let begun = |variant: &Variant| {
            let Some(path) = out.as_ref().map(|out| out.join(&variant.name)) else {
                return Ok(Begun::No);
            };
            let begun = Begun::find(&path, &variant.recipe).map_err(run)?;
            match begun {
                _ if force => return Ok(Begun::No),
                Begun::No => drop(Destination::at(&path, false).map_err(out_failure)?),
                _ => {}
            }
            Ok(begun)
        };
        let begun = variants.iter().map(begun).collect::<Result<Vec<_>, Failure>>()?;
        let parent = destination.make_parent().map_err(out_failure)?;
        let runs = variants.into_iter().zip(begun).collect();
        Ok(Many { job, name, data, workers, parent, runs })
    }

    /// Runs every variant in a directory of its own. The table is written after each, so that what
    /// has been done is not lost.
    fn run(&self, table: &str) -> Result<(), Failure> {
        let style = self.job.style;
        let mut results = Results::default();
        for (number, (variant, begun)) in self.runs.iter().enumerate() {
            let (number, count) = (number + 1, self.runs.len());
            let path = self.parent.join(&variant.name);
            let done = if matches!(begun, Begun::Entirely(_)) { ", which is done" } else { "" };
            if matches!(style, Style::Plain | Style::Terminal) {
                say(&format!("\nrun {number} of {count}: {}{done}", variant.name));
            }
            let ended = match begun {
                Begun::Entirely(ended) => Some(ended.clone()),
                Begun::Partly(directory) => self.go_on(variant, directory)?,
                Begun::No => self.begin(variant, self.job.arguments.force)?,
            };
            if let Some(ended) = ended {
                results.add(variant, &path, &ended);
            }
            if table == "seeds" {
                results.summarise();
            }
            results.save(&self.parent, table).map_err(run)?;
        }
        match style {
            Style::Quiet => {}
            Style::Json => say(&results.json()),
            Style::Plain | Style::Terminal => say(&format!("\n{}", results.text().trim_end())),
        }
        match results.failed().next() {
            None => Ok(()),
            Some(first) => {
                let (directory, error) = (first.directory.display(), first.error.as_deref());
                let (failed, of) = (results.failed().count(), self.runs.len());
                let error = error.unwrap_or_default();
                Err(run(format!("{failed} of {of} runs failed: {directory}: {error}")))
            }
        }
    }

    /// A run from its beginning.
    fn begin(&self, variant: &Variant, replace: bool) -> Result<Option<Ended>, Failure> {
        let (job, recipe) = (self.job, &variant.recipe);
        let path = self.parent.join(&variant.name);
        let destination = Destination::at(&path, replace).map_err(out_failure)?;
        let directory = destination.make(recipe).map_err(out_failure)?;
        let mut trainer = job.trainer(recipe, self.name, &self.data, &self.workers)?;
        self.ended(job.run(&mut trainer, &directory), &directory)
    }

    /// The rest of a run.
    fn go_on(&self, variant: &Variant, begun: &RunDirectory) -> Result<Option<Ended>, Failure> {
        let checkpoint = match Checkpoints::new(begun.checkpoints(), 1).latest() {
            // The program was killed before it had written one.
            Err(CheckpointError::None { .. }) => return self.begin(variant, true),
            checkpoint => whole(checkpoint)?,
        };
        let (data, workers) = (&self.data, &self.workers);
        self.ended(self.job.go_on(&variant.recipe, begun, &checkpoint, data, workers), begun)
    }

    /// A run that diverges is a result as well; other errors would be those of the next run too.
    fn ended(
        &self,
        outcome: Result<Outcome, TrainError>,
        directory: &RunDirectory,
    ) -> Result<Option<Ended>, Failure> {
        match outcome {
            Err(error) if error.divergence().is_some() => Ended::find(directory).map_err(run),
            outcome => {
                let outcome = self.job.ended(outcome, directory, &self.again())?;
                Ok(outcome.epoch.map(Ended::Well))
            }
        }
    }

    /// The arguments that go on with what is not done yet.
    fn again(&self) -> String {
        let arguments = std::env::args().skip(1).filter(|argument| argument != "--force");
        let mut words: Vec<String> = arguments.map(|argument| quoted(&argument)).collect();
        if self.job.arguments.out.is_none() {
            words.extend(["--out".to_owned(), word(&self.parent)]);
        }
        words.join(" ")
    }
}
