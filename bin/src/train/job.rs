//! What the runs of a command have in common: their files, how they are shown, and how they end.

use super::recipes::recipe_failure;
use super::show::{Style, show};
use super::{Arguments, Output};
use crate::cli::data::{bundled, data_failure};
use crate::cli::interrupt::Interrupt;
use crate::cli::weights::weights_file;
use crate::cli::{
    Failure, Invocation, Kind, check_name, complain, run, say, usage, warn_of_portable, word,
};
use dataset::{DataError, Dataset, Source};
use model::StateDict;
use model::tensors::TensorFile;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Once;
use tracking::{
    Checkpoint, Checkpoints, Destination, Outcome, Recorder, RunDirectory, RunDirectoryError,
    RunError, advice_on_collapse,
};
use trainer::recipe::{Facts, PICTURES, RecipeError};
use trainer::{Recipe, Stop, TrainError, Trainer, Workers};

/// What all runs of a command share.
pub struct Job<'a> {
    pub arguments: &'a Arguments,
    pub called: Invocation,
    pub interrupt: &'a Interrupt,
    pub style: Style,
}

impl Job<'_> {
    /// The recipe that is asked for: without a name `fast` for the bundled data, and where ranks have parts of
    /// the images; `pictures` for data of one's own.
    pub fn recipe_name(&self) -> &str {
        let own = || !self.arguments.partitioned && self.names_own_data();
        let default = || if own() { PICTURES } else { "fast" };
        self.arguments.recipe.as_deref().unwrap_or_else(default)
    }

    /// Whether the command names data other than the bundled.
    fn names_own_data(&self) -> bool {
        let bundled = || Source::bundled().ok()?.directory.canonicalize().ok();
        let is_own = |path: &PathBuf| path.canonicalize().ok().is_none_or(|p| Some(p) != bundled());
        self.arguments.fields.sets("data.directory")
            || self.arguments.data.as_ref().is_some_and(is_own)
    }

    /// The recipe that is asked for, sized to its data if it is that for pictures.
    pub fn recipe(&self) -> Result<Recipe, Failure> {
        let name = self.recipe_name();
        let failure = |error| recipe_failure(&self.arguments.fields, name, error);
        if name == PICTURES && self.arguments.partitioned {
            let problem = "is sized to all training images, which no rank of --partitioned has";
            return Err(usage(format!("--recipe: `{name}` {problem}: expected another recipe")));
        }
        self.load(name, &self.arguments.fields.settings()?, failure)
    }

    /// The recipe of this name with these settings, sized to its data if it is that for pictures.
    pub fn load(
        &self,
        name: &str,
        settings: &[(String, String)],
        failure: impl Fn(RecipeError) -> Failure,
    ) -> Result<Recipe, Failure> {
        let recipe = self.own(Recipe::load(name, settings).map_err(&failure)?)?;
        if name != PICTURES {
            return Ok(recipe);
        }
        let facts = Facts::of(&self.open(&recipe)?).map_err(run)?;
        self.own(Recipe::load_for(name, facts, settings).map_err(&failure)?)
    }

    /// What the directory of a run is called after.
    pub fn base_name(&self) -> String {
        let stem = Path::new(self.recipe_name()).file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    }

    /// The recipe with the files that the command names, wherever it is run from again.
    pub fn own(&self, mut recipe: Recipe) -> Result<Recipe, Failure> {
        let set = self.arguments.fields.sets("data.directory");
        if let Some(directory) = self.arguments.data.as_ref().filter(|_| !set) {
            recipe.data.directory = Some(directory.clone());
        }
        let files = [("--data", &mut recipe.data.directory), ("--init", &mut recipe.model.weights)];
        for (flag, path) in files {
            *path = path.as_ref().map(|path| absolute(flag, path)).transpose()?;
        }
        for (flag, path) in [("--data", &recipe.data.directory), ("--init", &recipe.model.weights)]
        {
            if let Some(path) = path.as_ref().filter(|path| path.to_str().is_none()) {
                let problem = "expected a path in UTF-8, as the recipe is to hold it";
                return Err(usage(format!("{flag}: {}: {problem}", path.display())));
            }
        }
        recipe.model.weights = recipe.model.weights.as_deref().map(weights_file).transpose()?;
        Ok(recipe)
    }

    /// Where to write; `at` says whether the directory that the command names will do.
    pub fn destination(
        &self,
        base: &str,
        at: fn(&Path, bool) -> Result<Destination, RunDirectoryError>,
    ) -> Result<Destination, Failure> {
        if let Some(ledger) = self.arguments.ledger.as_ref().filter(|_| !self.arguments.force)
            && ledger.metadata().is_ok_and(|found| found.is_file() && found.len() > 0)
        {
            let problem = "exists and is not empty: expected a new file for --ledger";
            return Err(Failure::new(Kind::File, format!("{}: {problem}", ledger.display())));
        }
        match &self.arguments.out {
            Some(out) => {
                check_name("--out", out, "directory")?;
                at(out, self.arguments.force).map_err(out_failure)
            }
            None => Ok(Destination::numbered(Path::new("runs"), base)),
        }
    }

    pub fn open(&self, recipe: &Recipe) -> Result<Dataset, Failure> {
        let source = match &recipe.data.directory {
            Some(directory) => Source::new(directory),
            None => bundled()?,
        };
        let (prefix, cache) = (recipe.data.prefix.clone(), self.arguments.cache.clone());
        let data = Dataset::open(&Source { prefix, cache, ..source });
        data.map_err(|error| {
            let failure = data_failure(&error, "--set data.prefix=");
            match &error {
                DataError::NoFiles { directory, pictures: true } => {
                    let import = self.called.words("import");
                    let command = format!("{import} {} --out DATA", word(directory));
                    Failure { message: format!("{}: {command}", failure.message), ..failure }
                }
                _ => failure,
            }
        })
    }

    pub fn trainer<'d>(
        &self,
        recipe: &Recipe,
        name: &str,
        data: &'d Dataset,
        workers: &'d Workers,
    ) -> Result<Trainer<'d>, Failure> {
        let trainer = Trainer::new(recipe, data, workers);
        trainer.map_err(|error| {
            let failure = self.no_trainer(recipe, name, error);
            let is_of_file = failure.kind == Kind::File;
            match network_of_weights(recipe, data).filter(|_| is_of_file) {
                Some(preset) => {
                    let hint = format!("; its weights are those of {preset}: --model {preset}");
                    Failure { message: failure.message + &hint, ..failure }
                }
                None => failure,
            }
        })
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
    ) -> Result<Outcome, RunError> {
        directory.lock()?;
        if !directory.is_locked() {
            self.warn_of_no_lock(directory);
        }
        let differences = &trainer.fine_tuned().differences;
        if let Some(file) =
            trainer.recipe().model.weights.as_ref().filter(|_| !differences.is_empty())
        {
            let (file, differences) = (file.display(), differences.join("; "));
            let problem = "its network was trained on images that were prepared otherwise";
            complain("warning", &format!("{file}: {problem}: {differences}"));
        }
        warn_of_portable(trainer.workers().isa());
        if let (Some(file), Style::Plain | Style::Terminal) =
            (&trainer.recipe().model.weights, self.style)
        {
            let tuned = trainer.fine_tuned().to_string();
            let rest = if tuned.is_empty() { "" } else { "; " };
            say(&format!("weights: {}{rest}{tuned}", file.display()));
        }
        let arguments = self.arguments;
        let is_text = matches!(self.style, Style::Plain | Style::Terminal);
        if is_text && arguments.resume.is_none() && arguments.sweep.is_none() {
            let notes = arguments.fields.notes(self.recipe_name(), trainer.recipe());
            notes.iter().for_each(|note| say(note));
        }
        let mut display = show(self.style);
        let outcome = Recorder::new(directory)
            .keep(self.arguments.keep as usize)
            .interrupt(self.interrupt.flag())
            .profile(self.arguments.output.profile)
            .ledger(self.arguments.ledger.as_deref())
            .display(&mut *display)
            .record(trainer)?;
        drop(display);
        if let Some(collapse) =
            outcome.collapsed.as_ref().filter(|_| outcome.stop != Stop::Interrupted)
        {
            complain("warning", &advice_on_collapse(collapse));
        }
        if let Some(profile) = &outcome.profile {
            say(&format!("\n{profile}"));
        }
        Ok(outcome)
    }

    /// Says once, however many runs there are, that nothing keeps other processes from their directories.
    fn warn_of_no_lock(&self, directory: &RunDirectory) {
        static TOLD: Once = Once::new();
        TOLD.call_once(|| {
            let problem = "this file system cannot lock directories, so nothing keeps a second run \
                           from being started in it";
            complain("warning", &format!("{}: {problem}", directory.path().display()));
        });
    }

    /// The trainer of a run that goes on, from its latest checkpoint that can be restored. Those after it are
    /// named.
    pub fn restore<'d>(
        &self,
        recipe: &Recipe,
        directory: &RunDirectory,
        data: &'d Dataset,
        workers: &'d Workers,
    ) -> Result<Trainer<'d>, Failure> {
        let name = directory.recipe().display().to_string();
        let origin = |field: &str| self.arguments.fields.origin(field, &name);
        let checkpoints = Checkpoints::new(directory.checkpoints(), 1);
        let (restored, passed_over) = checkpoints.restore(|checkpoint| {
            check_recipe(&checkpoint, recipe, origin)?;
            let state = checkpoint.state().map_err(run)?;
            let trainer = Trainer::resume(recipe, data, workers, state).map_err(run)?;
            Ok::<_, Failure>((trainer, checkpoint))
        })?;
        let (trainer, checkpoint) = restored;
        for Failure { message, .. } in passed_over {
            complain("warning", &format!("{message}; going on from an older one"));
        }
        check_epochs(&checkpoint, recipe, origin)?;
        Ok(trainer)
    }

    /// The arguments that go on with the run in this directory.
    pub fn to_go_on(&self, directory: &Path) -> String {
        let ledger = self.arguments.ledger.as_ref();
        let ledger = ledger.map(|file| format!(" --ledger {}", word(file))).unwrap_or_default();
        format!("--resume {}{ledger}", word(directory))
    }

    /// What to say of the end of a run if it is not complete; the program goes on with it if called
    /// with these arguments.
    pub fn ended(
        &self,
        outcome: Result<Outcome, RunError>,
        directory: &RunDirectory,
        arguments: &str,
    ) -> Result<Outcome, Failure> {
        let train = self.called.words("train");
        match outcome {
            Ok(outcome) if outcome.stop == Stop::Interrupted => {
                let step = outcome.step;
                let text =
                    format!("interrupted after step {step}; go on with: {train} {arguments}");
                Err(Failure::interrupted(text, self.interrupt.signal()))
            }
            Err(RunError::Train(TrainError::File(error))) => {
                let begun = Checkpoints::new(directory.checkpoints(), 1).latest().is_ok();
                let hint = format!("; with that mended, go on with: {train} {arguments}");
                let hint = if begun { &hint } else { "" };
                Err(Failure::new(Kind::File, format!("{error}{hint}")))
            }
            Err(error @ RunError::Moved { .. }) => {
                let hint = self.way_on_from_new_place(&error).unwrap_or_default();
                Err(Failure::new(Kind::File, format!("{error}{hint}")))
            }
            outcome => outcome.map_err(run),
        }
    }

    /// How a run goes on whose directory has another path now. Of several runs that share a directory nobody
    /// knows which of the paths has changed.
    fn way_on_from_new_place(&self, error: &RunError) -> Option<String> {
        let RunError::Moved { now, .. } = error else { return None };
        let several = self.arguments.sweep.is_some() || self.arguments.seeds.is_some();
        let checkpoints = RunDirectory::open(now).ok()?.checkpoints();
        let begun = Checkpoints::new(checkpoints, 1).latest().is_ok();
        let train = self.called.words("train");
        (begun && !several).then(|| format!("; go on with: {train} {}", self.to_go_on(now)))
    }
}

/// The path from the root, which leads to the same place from anywhere.
fn absolute(flag: &str, path: &Path) -> Result<PathBuf, Failure> {
    if path.as_os_str().is_empty() {
        return Err(usage(format!("{flag}: found an empty path, expected a file or directory")));
    }
    let absolute = std::path::absolute(path).map_err(|error| {
        let (path, problem) = (path.display(), "the current directory cannot be found");
        Failure::new(Kind::File, format!("{flag}: {path}: {problem}: {error}"))
    })?;
    // Of a directory that is not called in UTF-8 a path may lead out again.
    let resolved = absolute.canonicalize().ok().filter(|path| path.to_str().is_some());
    Ok(resolved.filter(|_| absolute.to_str().is_none()).unwrap_or(absolute))
}

/// The preset that the weights of a recipe are for, if it is another than that of the recipe: those of PyTorch
/// do not say.
fn network_of_weights(recipe: &Recipe, data: &Dataset) -> Option<String> {
    let tensors = TensorFile::read(recipe.model.weights.as_ref()?).ok()?;
    let found = StateDict::of(&tensors).matching_preset(data.image_shape()).ok()?;
    (found.name != recipe.model.name()).then_some(found.name)
}

/// An error unless a run of this recipe can go on from the checkpoint; `origin` says what set a field.
fn check_recipe(
    checkpoint: &Checkpoint,
    recipe: &Recipe,
    origin: impl Fn(&str) -> String,
) -> Result<(), Failure> {
    checkpoint.check_recipe(recipe).map_err(|(field, problem)| {
        let origin = origin(&field);
        usage(format!("{origin}: {problem}; of a run that goes on, only --epochs may change"))
    })
}

/// An error if the recipe has fewer epochs than the run has begun; a warning if others would have been planned
/// in another way.
fn check_epochs(
    checkpoint: &Checkpoint,
    recipe: &Recipe,
    origin: impl Fn(&str) -> String,
) -> Result<(), Failure> {
    let (epochs, begun) = (recipe.stop.epochs, checkpoint.progress().epoch_under_way());
    if epochs < begun {
        let origin = origin("stop.epochs");
        return Err(usage(format!(
            "{origin}: `stop.epochs` is {epochs}: expected at least {begun}, the epochs that the run has \
             begun"
        )));
    }
    if let Some(said) = checkpoint.recipe().warning_of_epochs(epochs) {
        complain("warning", said);
    }
    Ok(())
}

pub fn style(output: &Output) -> Style {
    match output {
        Output { json: true, quiet: true, .. } => Style::JsonEnd,
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
    Failure::new(Kind::File, format!("{error}; {hint}"))
}
