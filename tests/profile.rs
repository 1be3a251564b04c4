//! A profiled run: the same weights, every product counted, all of the time accounted for.

mod support {
    pub mod data;
}

use kernels::Isa;
use std::time::Duration;
use support::data;
use trainer::{TrainError, Trainer, Workers, each_epoch};

/// What the others are made of too.
const PRESETS: [&str; 5] = ["lenet", "lenet-li", "cnn-bn", "vgg", "resnet"];

#[test]
fn every_preset() {
    for preset in PRESETS {
        let (_directory, data) = data::random(72, [1, 16, 16], 10);
        let settings = [("model.preset", preset), ("stop.epochs", "2")];
        let recipe = data::recipe(&settings);
        for threads in [1, 3] {
            let workers = Workers::new(Isa::detect(), threads).unwrap();
            let mut plain = Trainer::new(&recipe, &data, &workers).unwrap();
            let mut profiled = Trainer::new(&recipe, &data, &workers).unwrap();
            plain.run(|_| {}).unwrap();
            let mut epochs = vec![];
            let (_, profile) =
                profiled.run_profiled(&mut each_epoch(|epoch| epochs.push(epoch.time))).unwrap();
            assert!(plain.weights() == profiled.weights(), "{preset}");

            let totals = profile.totals;
            assert_eq!((totals.threads, totals.steps, totals.images), (threads, 6, 144));
            assert_eq!(totals.training, epochs.iter().sum());
            assert!(totals.peak > 0.0 && totals.validation > Duration::ZERO);
            let flops: f64 = profile.rows.iter().map(|row| row.flops).sum();
            let counted = 2 * 144 * plain.network().training_multiply_adds();
            assert_eq!(flops, counted as f64, "{preset}");
            let sum: Duration = profile.rows.iter().map(|row| row.total).sum();
            assert_eq!(sum, totals.training * threads as u32, "{preset}");

            // Each layer with parameters has a row, and its backward pass is what it is made of.
            for summary in plain.network().summaries().iter().filter(|s| s.parameters > 0) {
                let row = profile.rows.iter().find(|row| row.layer == summary.name).unwrap();
                assert!(row.operation.starts_with(&summary.kind), "{preset}: {row:?}");
                assert!(row.forward > Duration::ZERO && row.backward > Duration::ZERO, "{row:?}");
                assert!(row.data_gradient + row.weight_gradient <= row.backward, "{row:?}");
                assert_eq!(row.forward + row.backward, row.total, "{row:?}");
            }
        }
    }
}

/// After a profiled run that failed the threads measure no more, and a plain run goes on.
#[test]
fn a_run_that_fails() {
    let (_directory, data) = data::random(32, [1, 16, 16], 10);
    let workers = Workers::new(Isa::detect(), 1).unwrap();
    let recipe = data::recipe(&[("stop.epochs", "1")]);
    let mut trainer = Trainer::new(&recipe, &data, &workers).unwrap();
    let sound = std::mem::replace(&mut trainer.weights_mut()[0], f32::NAN);
    let error = trainer.run_profiled(&mut each_epoch(|_| {})).unwrap_err();
    assert!(matches!(error, TrainError::NotFinite { .. }), "{error}");
    trainer.weights_mut()[0] = sound;
    trainer.run(|_| {}).unwrap();
}
