//! What the runs of a command have in common: their files, how they are shown, and how they end.

use crate::cli::{self, Failure, run, say, usage};
use crate::interrupt::Interrupt;
use crate::recipes::recipe_failure;
use crate::show::{Style, show};
use crate::{Arguments, Output};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use trainer::{
    Checkpoint, Checkpoints, Dataset, Destination, Outcome, Recipe, Recording, RunDirectory,
    RunDirectoryError, Source, Stop, TrainError, Trainer, Workers, record,
};

/// What all runs of a command share.
pub struct Job<'a> {
    pub arguments: &'a Arguments,
    pub interrupt: &'a Interrupt,
    pub style: Style,
}

impl Job<'_> {
    /// The recipe that is asked for.
    pub fn recipe_name(&self) -> &str {
        self.arguments.recipe.as_deref().unwrap_or("fast")
    }

    /// What the directory of a run is called after.
    pub fn base_name(&self) -> String {
        let stem = Path::new(self.recipe_name()).file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    }

    /// The recipe with the files that the command names, wherever it is run from again.
    pub fn own(&self, mut recipe: Recipe) -> Result<Recipe, Failure> {
        let absolute = |path: &PathBuf| std::path::absolute(path).map_err(run);
        let set = self.arguments.fields.sets("data.directory");
        if let Some(directory) = self.arguments.data.as_ref().filter(|_| !set) {
            recipe.data.directory = Some(absolute(directory)?);
        }
        for path in [&mut recipe.data.directory, &mut recipe.model.weights] {
            *path = path.as_ref().map(absolute).transpose()?;
        }
        recipe.model.weights =
            recipe.model.weights.as_deref().map(cli::weights_file).transpose()?;
        Ok(recipe)
    }

    /// Where to write; `at` says whether the directory that the command names will do.
    pub fn destination(
        &self,
        base: &str,
        at: fn(&Path, bool) -> Result<Destination, RunDirectoryError>,
    ) -> Result<Destination, Failure> {
        match &self.arguments.out {
            Some(out) => at(out, self.arguments.force).map_err(out_failure),
            None => Ok(Destination::numbered(Path::new("runs"), base)),
        }
    }

    pub fn open(&self, recipe: &Recipe) -> Result<Dataset, Failure> {
        let source = match &recipe.data.directory {
            Some(directory) => Source::new(directory),
            None => Source::bundled().map_err(run)?,
        };
        let (prefix, cache) = (recipe.data.prefix.clone(), self.arguments.cache.clone());
        let data = Dataset::open(&Source { prefix, cache, ..source });
        data.map_err(|error| cli::data_failure(&error, "--set data.prefix="))
    }

    pub fn trainer<'d>(
        &self,
        recipe: &Recipe,
        name: &str,
        data: &'d Dataset,
        workers: &'d Workers,
    ) -> Result<Trainer<'d>, Failure> {
        let trainer = Trainer::new(recipe, data, workers);
        trainer.map_err(|error| self.no_trainer(recipe, name, error))
    }

    /// Why a recipe and its data make no trainer.
    pub fn no_trainer(&self, recipe: &Recipe, name: &str, error: TrainError) -> Failure {
        match error {
            TrainError::Recipe(error) => recipe_failure(&self.arguments.fields, name, error),
            // Layers of one's own are the recipe's; a preset is as it is.
            error @ TrainError::Shape { .. } if recipe.model.layers.is_some() => usage(error),
            error => run(error),
        }
    }

    /// Trains, and shows it.
    pub fn run(
        &self,
        trainer: &mut Trainer<'_>,
        directory: &RunDirectory,
    ) -> Result<Outcome, TrainError> {
        let recording = Recording {
            directory,
            keep: self.arguments.keep as usize,
            interrupt: self.interrupt.flag(),
            profile: self.arguments.output.profile,
        };
        if let (Some(file), Style::Plain | Style::Terminal) =
            (&trainer.recipe().model.weights, self.style)
        {
            let fresh = trainer.fresh_parameters();
            let rest = if fresh.is_empty() { "" } else { "; for other classes, so at random: " };
            say(&format!("weights: {}{rest}{}", file.display(), fresh.join(", ")));
        }
        let mut listener = show(self.style);
        let outcome = record(trainer, recording, &mut *listener)?;
        drop(listener);
        if let Some(profile) = &outcome.profile {
            say(&format!("\n{profile}"));
        }
        Ok(outcome)
    }

    /// Goes on with a run.
    pub fn go_on(
        &self,
        recipe: &Recipe,
        directory: &RunDirectory,
        checkpoint: &Checkpoint,
        data: &Dataset,
        workers: &Workers,
    ) -> Result<Outcome, TrainError> {
        let mut trainer = Trainer::resume(recipe, data, workers, checkpoint)?;
        directory.rewrite_recipe(recipe)?;
        self.run(&mut trainer, directory)
    }

    /// What to say of the end of a run if it is not complete; the program goes on with it if called
    /// with these arguments.
    pub fn ended(
        &self,
        outcome: Result<Outcome, TrainError>,
        directory: &RunDirectory,
        arguments: &str,
    ) -> Result<Outcome, Failure> {
        let program = std::env::args_os().next().unwrap_or_else(|| "train".into());
        let program = word(Path::new(&program));
        match outcome {
            Ok(outcome) if outcome.stop == Stop::Interrupted => {
                let step = outcome.step;
                let text =
                    format!("interrupted after step {step}; go on with: {program} {arguments}");
                Err(Failure::Interrupted(text, self.interrupt.signal()))
            }
            Err(TrainError::File(error)) => {
                let begun = Checkpoints::new(directory.checkpoints(), 1).latest().is_ok();
                let hint = format!("; with that mended, go on with: {program} {arguments}");
                Err(run(format!("{error}{}", if begun { &hint } else { "" })))
            }
            outcome => outcome.map_err(run),
        }
    }
}

/// A path as a word for a shell, that is no flag.
pub fn word(path: &Path) -> String {
    let text = path.display().to_string();
    let text = if text.starts_with('-') { format!("./{text}") } else { text };
    quoted(&text)
}

/// Text as a word for a shell.
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+=,:@%".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

pub fn style(output: &Output) -> Style {
    match output {
        Output { json: true, .. } => Style::Json,
        Output { quiet: true, .. } => Style::Quiet,
        _ if std::io::stdout().is_terminal() => Style::Terminal,
        _ => Style::Plain,
    }
}

pub fn out_failure(error: RunDirectoryError) -> Failure {
    let hint = match error {
        RunDirectoryError::Taken(_) => "choose another --out, or replace the run with --force",
        _ => "choose another place with --out",
    };
    run(format!("{error}; {hint}"))
}
