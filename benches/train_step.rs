//! A whole training step of each preset on Fashion-MNIST: bytes to lanes, forward, backward, the sum
//! over shards, the optimiser. A multiply-add counts two operations; the data-gradient of the first
//! layer, padding and everything that is not a product count none.

mod measure;

use criterion::{Criterion, criterion_group, criterion_main};
use dataset::{Dataset, Source};
use kernels::{Isa, Precision};
use measure::steps::{Steps, recipe, trainer_of};
use measure::{Contestant, Peak, compare, compare_precisions, measuring};
use std::time::Duration;
use trainer::recipe::PrecisionName;
use trainer::{Trainer, Workers};

/// Networks that are trained in bfloat16 too, beside `f32`.
const IN_BF16: [&str; 3] = ["cnn-bn", "vgg", "resnet"];

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
        let of =
            |workers| Steps::new(trainer_of(preset, batch, &data, workers), 60_000, workers, steps);
        let (mut alone, mut together) = (of(&one), of(&many));
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
        let flops = alone.flops();
        let contestants = vec![Contestant::new("1 thread", || alone.call())];
        compare(Peak::of_a_core(isa), &format!("{name}, 1 thread"), flops, contestants);
        let contestants = vec![
            Contestant::new(format!("{all} threads"), || together.call()),
            Contestant::new("1 thread", || alone.call()),
        ];
        compare(Peak::of_workers(&many), &format!("{name}, {all} threads"), flops, contestants);
        println!("  images/s = {} / time", batch * steps);
    }
    for (preset, batch, steps) in STEPS {
        if IN_BF16.contains(&preset) {
            in_bf16(criterion, &data, (preset, batch, steps), [&one, &many]);
        }
    }
}

/// The same in bfloat16, and beside it in `f32`: the ratio is how many times as long that takes.
fn in_bf16(
    criterion: &mut Criterion,
    data: &Dataset,
    (preset, batch, steps): (&str, usize, usize),
    workers: [&Workers; 2],
) {
    let name = format!("{preset} in bf16, batch {batch}");
    let trainer = |precision, workers| {
        let mut recipe = recipe(preset, batch);
        recipe.model.precision = precision;
        let trainer = Trainer::new(&recipe, data, workers).expect("the preset fits");
        Steps::new(trainer, 60_000, workers, steps)
    };
    let mut selected = false;
    let mut group = criterion.benchmark_group("train_step");
    group.sample_size(10).warm_up_time(Duration::from_millis(100));
    group.measurement_time(Duration::from_millis(500));
    let mut alone = trainer(PrecisionName::Bf16, workers[0]);
    group.bench_function(&name, |bencher| {
        selected = true;
        bencher.iter(|| alone.call());
    });
    group.finish();
    if !selected || !measuring() {
        return;
    }
    for workers in workers {
        let threads = match workers.threads() {
            1 => "1 thread".to_owned(),
            threads => format!("{threads} threads"),
        };
        let [mut bf16, mut f32] =
            [PrecisionName::Bf16, PrecisionName::F32].map(|precision| trainer(precision, workers));
        let flops = bf16.flops();
        let contestants = vec![
            Contestant::new("bf16", || bf16.call()).in_precision(Precision::Bf16),
            Contestant::new("f32", || f32.call()),
        ];
        let peaks = vec![Peak::of_workers(workers), Peak::of_workers_in_bf16(workers)];
        compare_precisions(peaks, &format!("{name}, {threads}"), flops, contestants);
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
