//! Training steps as work to be measured.

use dataset::Dataset;
use trainer::{Recipe, Trainer, Workers};

/// Steps over the first images of the training set, in order, again and again.
pub struct Steps<'a> {
    trainer: Trainer<'a>,
    workers: &'a Workers,
    batches: Vec<Vec<u32>>,
    steps: usize,
    next: usize,
}

/// The trainer of a preset, by the recipe `paper` with batches of this size.
pub fn trainer_of<'a>(
    preset: &str,
    batch: usize,
    data: &'a Dataset,
    workers: &'a Workers,
) -> Trainer<'a> {
    Trainer::new(&recipe(preset, batch), data, workers).expect("the preset fits")
}

/// The recipe `paper` for another network and batches of this size.
pub fn recipe(preset: &str, batch: usize) -> Recipe {
    let settings = [("model.preset", preset), ("data.batch_size", &batch.to_string())]
        .map(|(field, value)| (field.to_owned(), value.to_owned()));
    Recipe::load("paper", &settings).expect("the recipe is valid")
}

impl<'a> Steps<'a> {
    /// So many steps to a call, on batches as large as the recipe says.
    pub fn new(trainer: Trainer<'a>, images: usize, workers: &'a Workers, steps: usize) -> Self {
        let batch = trainer.recipe().data.batch_size;
        let images: Vec<u32> = (0..(16 * batch).min(images) as u32).collect();
        let batches = images.chunks_exact(batch).map(<[u32]>::to_vec).collect();
        Steps { trainer, workers, batches, steps, next: 0 }
    }

    /// Changes how many steps make a call.
    pub fn set_steps(&mut self, steps: usize) {
        self.steps = steps;
    }

    /// Images of a call.
    pub fn images(&self) -> usize {
        self.batches[0].len() * self.steps
    }

    /// Floating-point operations of a call, two for a multiply-add.
    pub fn flops(&self) -> usize {
        2 * self.images() * self.trainer.network().training_multiply_adds()
    }

    /// As many steps as make a call.
    pub fn call(&mut self) {
        let Steps { trainer, workers, batches, steps, next } = self;
        workers.run(|| {
            for _ in 0..*steps {
                let batch = &batches[*next % batches.len()];
                *next += 1;
                trainer.step(batch).expect("the loss is finite");
            }
        });
    }
}
