//! The page that a run ends with.

use crate::fields::with_names_only;
use crate::log::metrics::read_metrics;
use crate::report::{Report, Scored};
use crate::run_directory::RunDirectory;
use files::write_file;
use model::Model;
use trainer::scores::{ScoreOptions, Scores};
use trainer::{Best, Predictor, TrainError, Trainer};

/// Mistakes that it shows.
const MISTAKES: usize = 24;

/// Writes the page about the run, with what the network makes of the test images or, if there are
/// none, of those that it was validated on.
pub(super) fn write_page(
    trainer: &Trainer<'_>,
    directory: &RunDirectory,
) -> Result<(), TrainError> {
    let (data, model) = (trainer.data(), trainer.model());
    let all: Vec<u32>;
    let images = match (data.test(), trainer.validation()) {
        (Ok(test), _) => {
            all = (0..test.len() as u32).collect();
            Some((test, &all[..], "test images"))
        }
        (Err(_), Some((split, held_out))) => Some((split, held_out, "validation images")),
        (Err(_), None) => None,
    };
    let score = |model: &Model, mistakes: usize| {
        let (split, images, _) = images?;
        let options = ScoreOptions { mistakes, ..ScoreOptions::default() };
        let predictor = Predictor::new(model, trainer.workers());
        let predictor = predictor.expect("the statistics of a model that was saved or loaded");
        let scores = Scores::new(&predictor, split, images, options);
        let directory = || data.directory().to_owned();
        Some(scores.map_err(|error| TrainError::Scores { directory: directory(), error }))
    };
    let scores = score(&model, MISTAKES).transpose()?;
    let scored = images.zip(scores.as_ref());
    let best = trainer.progress().best.filter(|_| trainer.recipe().may_select());
    let is_another = |best: &Best| best.step != trainer.progress().step;
    let best_scores = match best.filter(is_another).filter(|_| directory.best().exists()) {
        Some(_) => score(&Model::load(&directory.best())?, 0).transpose()?,
        None => None,
    };
    let report = Report {
        metrics: &read_metrics(&directory.metrics())?,
        recipe: &with_names_only(trainer.recipe()).to_toml(),
        repeat: &format!("bobbin train --recipe {}/recipe.toml", directory.name()),
        model: &model,
        best,
        scores: scored.map(|((split, _, of), scores)| Scored { scores, split, of }),
        best_scores: best_scores.as_ref(),
    };
    directory.check()?;
    Ok(write_file(&directory.report(), report.html().as_bytes())?)
}
