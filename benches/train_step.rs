//! A whole training step of each preset on Fashion-MNIST: bytes to lanes, forward, backward, the sum
//! over shards, the optimiser. A multiply-add counts two operations; the data-gradient of the first
//! layer, padding and everything that is not a product count none.

mod measure;

use criterion::{Criterion, criterion_group, criterion_main};
use kernels::{Isa, fma_chains};
use measure::{Contestant, Peak, compare, measuring};
use std::time::Duration;
use trainer::{Dataset, Recipe, Source, Trainer, Workers};

/// Preset, batch, and how many steps make a call. The loop of a training run is inside the pool, so
/// entering it is not a cost of a step; and the system takes milliseconds to give each thread that it
/// wakes a core of its own.
const STEPS: [(&str, usize, usize); 7] = [
    ("lenet", 32, 128),
    ("lenet", 64, 64),
    ("lenet", 128, 32),
    ("lenet", 256, 16),
    ("cnn-bn", 256, 4),
    ("vgg", 64, 1),
    ("resnet", 256, 1),
];

fn steps(criterion: &mut Criterion) {
    let isa = Isa::from_env().expect("the variable names a path");
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let source = Source::bundled().expect("the data set is in the repository");
    let data = Dataset::open(&source).expect("the bundled data set is whole");
    let one = Workers::new(isa, 1).expect("a thread can be started");
    let many = Workers::new(isa, all).expect("threads can be started");
    for (preset, batch, steps) in STEPS {
        let name = format!("{preset}, batch {batch}");
        let mut alone = Steps::new(preset, [batch, steps], &data, &one);
        let mut together = Steps::new(preset, [batch, steps], &data, &many);
        let mut group = criterion.benchmark_group("train_step");
        group.sample_size(10).warm_up_time(Duration::from_millis(100));
        group.measurement_time(Duration::from_millis(500));
        let mut selected = false;
        group.bench_function(&name, |bencher| {
            selected = true;
            bencher.iter(|| alone.call());
        });
        group.finish();
        if !selected || !measuring() {
            continue;
        }
        let flops = 2 * batch * steps * alone.trainer.network().training_multiply_adds();
        let contestants = vec![Contestant::new("1 thread", || alone.call())];
        compare(Peak::of_a_core(isa), &format!("{name}, 1 thread"), flops, contestants);
        let contestants = vec![
            Contestant::new(format!("{all} threads"), || together.call()),
            Contestant::new("1 thread", || alone.call()),
        ];
        compare(peak_of(&many), &format!("{name}, {all} threads"), flops, contestants);
        println!("  images/s = {} / time", batch * steps);
    }
}

/// Steps over the first images of the training set, in order, again and again.
struct Steps<'a> {
    trainer: Trainer<'a>,
    workers: &'a Workers,
    batches: Vec<Vec<u32>>,
    steps: usize,
    next: usize,
}

impl<'a> Steps<'a> {
    fn new(
        preset: &str,
        [batch, steps]: [usize; 2],
        data: &'a Dataset,
        workers: &'a Workers,
    ) -> Steps<'a> {
        let settings = [("model.preset", preset), ("data.batch_size", &batch.to_string())]
            .map(|(field, value)| (field.to_owned(), value.to_owned()));
        let recipe = Recipe::load("paper", &settings).expect("the recipe is valid");
        let trainer = Trainer::new(&recipe, data, workers).expect("the preset fits");
        let images: Vec<u32> = (0..(16 * batch).min(60_000) as u32).collect();
        let batches = images.chunks_exact(batch).map(<[u32]>::to_vec).collect();
        Steps { trainer, workers, batches, steps, next: 0 }
    }

    /// As many steps as make a call.
    fn call(&mut self) {
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

/// The FMA peak of all threads of a pool at once: many short pieces, so that none waits for another,
/// and milliseconds of them, so that each thread has found a core.
fn peak_of(workers: &Workers) -> Peak<'_> {
    const PIECES: usize = 64;
    const STEPS: usize = 20_000;
    let run = || {
        let pieces = PIECES * workers.threads();
        let leaf = |_, _: &mut autograd::Memory| fma_chains(workers.isa(), STEPS);
        workers.run(|| workers.sum(pieces, &leaf, &|a, b| a + b))
    };
    let flops = run();
    Peak {
        flops,
        work: Box::new(move || {
            run();
        }),
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
