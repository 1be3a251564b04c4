//! `--preview`: training images as the network sees them.

use super::job::Job;
use super::show::Style;
use crate::cli::{Failure, check_name, printable, run, say, usage};
use serde_json::json;
use std::path::Path;
use tracking::{SheetRow, sheet};
use trainer::{Preview, Recipe};

/// Images on a sheet at most, and how often each is.
const IMAGES: usize = 16;
const EPOCHS: u32 = 8;

/// Draws a sheet of training images, a row for each, as they are in the first epochs.
pub fn draw(job: &Job<'_>, recipe: &Recipe, file: &Path) -> Result<(), Failure> {
    check_name("--preview", file, "file")?;
    if file.extension().is_none_or(|extension| extension != "png") {
        let found = file.display();
        return Err(usage(format!("--preview: found {found}: expected a file that ends in .png")));
    }
    let (data, workers) = (job.open(recipe)?, job.arguments.threads.start()?);
    let trainer = job.trainer(recipe, job.recipe_name(), &data, &workers)?;
    let found = trainer.preview(IMAGES, EPOCHS);
    let images: Vec<u32> = found.iter().map(|preview| preview.image).collect();
    let train = data.train().map_err(run)?;
    let names = data.class_names();
    let title = |preview: &Preview| match train.label_set(preview.image as usize) {
        None => names[preview.class as usize].clone(),
        Some(set) => {
            let held = names.iter().zip(set).filter(|(_, held)| **held == 1);
            held.map(|(name, _)| &**name).collect::<Vec<_>>().join(", ")
        }
    };
    let row = |preview: Preview| SheetRow { title: title(&preview), images: preview.epochs };
    let rows: Vec<SheetRow> = found.into_iter().map(row).collect();
    files::write_file(file, &sheet(data.image_shape(), &rows).png()).map_err(run)?;
    match job.style {
        Style::Quiet => {}
        Style::Json | Style::JsonEnd => {
            let object = json!({
                "event": "preview", "picture": file, "images": images, "epochs": EPOCHS
            });
            say(&object.to_string());
        }
        Style::Plain | Style::Terminal => {
            let (count, file) = (images.len(), printable(&file.display().to_string()));
            say(&format!("{count} training images in {EPOCHS} epochs: {file}"));
        }
    }
    Ok(())
}
