//! The page that a run ends with.

use crate::error::TrainError;
use crate::log::metrics::read_metrics;
use crate::predictor::Predictor;
use crate::report::{Report, Scored};
use crate::run_directory::RunDirectory;
use crate::scores::{ScoreOptions, Scores};
use crate::training::Trainer;
use model::write_file;

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
    let options = ScoreOptions { mistakes: MISTAKES, ..ScoreOptions::default() };
    let predictor = Predictor::new(&model, trainer.workers());
    let scores = images.map(|(split, images, _)| Scores::new(&predictor, split, images, options));
    let scores = scores
        .transpose()
        .map_err(|error| TrainError::Scores { directory: data.directory().to_owned(), error })?;
    let scored = images.zip(scores.as_ref());
    let scored = scored.map(|((split, _, of), scores)| Scored { scores, split, of });
    let report = Report {
        metrics: &read_metrics(&directory.metrics())?,
        recipe: &trainer.recipe().to_toml(),
        repeat: &format!("train --recipe {}", directory.recipe().display()),
        model: &model,
        best: trainer.progress().best.filter(|_| trainer.recipe().may_select()),
        scores: scored,
    };
    Ok(write_file(&directory.report(), report.html().as_bytes())?)
}
