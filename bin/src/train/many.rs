//! Many runs by one command: a sweep, or several seeds.

use super::job::{Job, out_failure};
use super::recipes::recipe_failure;
use super::show::Style;
use crate::cli::{Failure, Kind, quoted, run, say, usage, word};
use dataset::Dataset;
use files::is_unfinished;
use files::leftovers::Tenancy;
use model::suggestion;
use std::cell::OnceCell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use tracking::sweep::{Begun, Ended, Other, Results, Sweep, Variant, seeds as variants_of_seeds};
use tracking::{CheckpointError, Checkpoints, Destination, Outcome, RunDirectory, RunError};
use trainer::recipe::{PICTURES, RecipeError};
use trainer::{Recipe, Workers};

/// Runs a recipe for every combination of the values of a sweep.
pub fn sweep(job: &Job<'_>, name: &str) -> Result<(), Failure> {
    let fields = &job.arguments.fields;
    let failure = |error| {
        let failure = recipe_failure(fields, name, error);
        // What no flag has set is of the sweep.
        match failure.message.strip_prefix("recipe ") {
            Some(rest) => Failure { message: format!("sweep {rest}"), ..failure },
            None => failure,
        }
    };
    let sweep = Sweep::load(name).map_err(|error| match error {
        RecipeError::Unknown { name, known } => {
            let meant = suggestion(&name, known.split(", ")).unwrap_or_default();
            usage(format!("unknown sweep `{name}`: expected {known}, or a TOML file{meant}"))
        }
        error => failure(error),
    });
    let sweep = sweep?;
    if job.arguments.data.is_some() && sweep.sets("data.directory") {
        return Err(usage("--data: cannot be set here: the sweep varies `data.directory`"));
    }
    let settings = fields.settings()?;
    let mut variants = sweep.variants(&settings).map_err(failure)?;
    if sweep.recipe == PICTURES {
        for Variant { recipe, settings: own, .. } in &mut variants {
            *recipe = job.load(PICTURES, &[&settings[..], own].concat(), failure)?;
        }
    }
    let base = Path::new(name).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Many::new(job, variants, name, &base)?.run("sweep")
}

/// Runs a recipe with several seeds.
pub fn seeds(job: &Job<'_>, recipe: &Recipe, base: &str, count: usize) -> Result<(), Failure> {
    Many::new(job, variants_of_seeds(recipe, count), base, &format!("{base}-seeds"))?.run("seeds")
}

struct Many<'a> {
    job: &'a Job<'a>,
    name: &'a str,
    data: DataSets,
    workers: Workers,
    /// Where the directories of the runs are.
    parent: PathBuf,
    /// Keeps what is being written there from being taken for leftovers.
    _tenancy: Tenancy,
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
        let (data, workers) = (DataSets::open(job, &variants)?, job.arguments.threads.start()?);
        for variant in &variants {
            job.trainer(&variant.recipe, name, data.of(&variant.recipe), &workers)?;
        }
        let (out, force) = (&job.arguments.out, job.arguments.force);
        // A directory that has some of the runs is that of the same command, which goes on.
        let is_ours = |out: &PathBuf| variants.iter().any(|v| out.join(&v.name).exists());
        let destination = match out.as_ref().filter(|out| is_ours(out)) {
            Some(out) => Destination::shared(out, true).map_err(out_failure)?,
            None => job.destination(base, Destination::shared)?,
        };
        let begun = |variant: &Variant| {
            let Some(path) = out.as_ref().filter(|_| !force).map(|out| out.join(&variant.name))
            else {
                return Ok(Begun::No);
            };
            let fingerprint = || data.fingerprint(&variant.recipe);
            let begun = Begun::find(&path, &variant.recipe, fingerprint).map_err(run)?;
            if let Begun::Other(other) = &begun {
                let hint = "choose another --out, or replace the run with --force";
                let kind = match other {
                    Other::Data | Other::UnknownData => Kind::OtherData,
                    _ => Kind::File,
                };
                return Err(Failure::new(kind, format!("{}: {other}; {hint}", path.display())));
            }
            if let Begun::No = begun {
                drop(Destination::at(&path, false).map_err(out_failure)?);
            }
            Ok(begun)
        };
        let begun = variants.iter().map(begun).collect::<Result<Vec<_>, Failure>>()?;
        let parent = destination.make_parent().map_err(out_failure)?;
        // Killed programs may have left tables that they had not written to their end.
        let (_tenancy, _) = Tenancy::begin(&parent, is_unfinished);
        let runs = variants.into_iter().zip(begun).collect();
        Ok(Many { job, name, data, workers, parent, _tenancy, runs })
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
                // Others have been refused.
                _ => self.begin(variant, self.job.arguments.force)?,
            };
            if let Some(ended) = ended {
                results.add(variant, &path, &ended);
            }
            match table {
                "seeds" => results.summarise(),
                _ => results.rank(),
            }
            results.save(&self.parent, table).map_err(run)?;
        }
        match style {
            Style::Quiet => {}
            Style::Json | Style::JsonEnd => say(&results.json()),
            Style::Plain | Style::Terminal => say(&format!("\n{}", results.text().trim_end())),
        }
        match results.failed().next() {
            None => Ok(()),
            Some(first) => {
                let (directory, error) = (first.directory.display(), first.error.as_deref());
                let (failed, of) = (results.failed().count(), self.runs.len());
                let error = error.unwrap_or_default();
                let problem = format!("{failed} of {of} runs failed: {directory}: {error}");
                Err(Failure::new(Kind::Diverged, problem))
            }
        }
    }

    /// A run from its beginning.
    fn begin(&self, variant: &Variant, replace: bool) -> Result<Option<Ended>, Failure> {
        let (job, recipe) = (self.job, &variant.recipe);
        let path = self.parent.join(&variant.name);
        let destination = Destination::at(&path, replace).map_err(out_failure)?;
        let directory = destination.make(recipe).map_err(out_failure)?;
        let data = self.data.of(recipe);
        let mut trainer = job.trainer(recipe, self.name, data, &self.workers)?;
        self.ended(job.run(&mut trainer, &directory), &directory)
    }

    /// The rest of a run.
    fn go_on(&self, variant: &Variant, begun: &RunDirectory) -> Result<Option<Ended>, Failure> {
        let latest = Checkpoints::new(begun.checkpoints(), 1).latest();
        // The program was killed before it had written one.
        if matches!(latest, Err(CheckpointError::None { .. })) {
            return self.begin(variant, true);
        }
        let (recipe, data) = (&variant.recipe, self.data.of(&variant.recipe));
        let mut trainer = self.job.restore(recipe, begun, data, &self.workers)?;
        begun.rewrite_recipe(recipe).map_err(run)?;
        self.ended(self.job.run(&mut trainer, begun), begun)
    }

    /// A run that diverges is a result as well; other errors would be those of the next run too.
    fn ended(
        &self,
        outcome: Result<Outcome, RunError>,
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
        let arguments = self.job.called.arguments().filter(|argument| argument != "--force");
        let quoted = |argument: OsString| quoted(&argument);
        let mut words: Vec<String> = arguments.map(quoted).collect();
        if self.job.arguments.out.is_none() {
            words.extend(["--out".to_owned(), word(&self.parent)]);
        }
        words.join(" ")
    }
}

/// The data sets of all runs, each opened once.
struct DataSets(Vec<DataSet>);

struct DataSet {
    directory: Option<PathBuf>,
    prefix: Option<String>,
    data: Dataset,
    /// Found when it is first asked for, as that reads every image.
    fingerprint: OnceCell<String>,
}

impl DataSets {
    fn open(job: &Job<'_>, variants: &[Variant]) -> Result<DataSets, Failure> {
        let mut sets = DataSets(vec![]);
        for Variant { recipe, .. } in variants {
            if sets.find(recipe).is_none() {
                sets.0.push(DataSet {
                    directory: recipe.data.directory.clone(),
                    prefix: recipe.data.prefix.clone(),
                    data: job.open(recipe)?,
                    fingerprint: OnceCell::new(),
                });
            }
        }
        Ok(sets)
    }

    fn find(&self, recipe: &Recipe) -> Option<&DataSet> {
        let is_its = |set: &&DataSet| {
            (&set.directory, &set.prefix) == (&recipe.data.directory, &recipe.data.prefix)
        };
        self.0.iter().find(is_its)
    }

    /// The data of one of the variants that it was opened for.
    fn of(&self, recipe: &Recipe) -> &Dataset {
        &self.find(recipe).expect("opened for this variant").data
    }

    fn fingerprint(&self, recipe: &Recipe) -> String {
        let set = self.find(recipe).expect("opened for this variant");
        set.fingerprint.get_or_init(|| set.data.fingerprint()).clone()
    }
}
