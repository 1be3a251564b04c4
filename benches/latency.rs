//! The logits of one image, and of 2, 4, 8 and 16: bytes in, logits out, by one thread and by all. The
//! last row are sixteen images with an image in each lane of a vector, which is what fewer take without
//! channels in lanes.

mod measure;

use autograd::{Tape, Workspace};
use criterion::{Criterion, criterion_group, criterion_main};
use dataset::{Dataset, Source, Split};
use kernels::Isa;
use measure::steps::trainer_of;
use measure::{Contestant, Peak, measuring, rounds};
use model::Model;
use std::time::Duration;
use trainer::{Predictor, Scaling, Workers};

/// Presets, and calls to a turn: the loop is inside the pool, so entering it is not a cost of a call; the system takes a
/// millisecond to wake a thread.
const NETWORKS: [(&str, usize); 4] = [("lenet", 512), ("cnn-bn", 128), ("vgg", 8), ("resnet", 16)];
const IMAGES: [usize; 5] = [1, 2, 4, 8, 16];

fn latency(criterion: &mut Criterion) {
    let isa = Isa::from_env().expect("the variable names a path");
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let source = Source::bundled().expect("the data set is in the repository");
    let data = Dataset::open(&source).expect("the bundled data set is whole");
    let test = data.test().expect("the bundled data set has test images");
    for (preset, calls) in NETWORKS {
        for threads in if all > 1 { vec![1, all] } else { vec![1] } {
            let workers = Workers::new(isa, threads).expect("threads can be started");
            let model = trainer_of(preset, 64, &data, &workers).model();
            let name = format!("{preset}, threads: {threads}");
            measure(criterion, (&name, calls), &workers, &model, test);
        }
    }
}

fn measure(
    criterion: &mut Criterion,
    (name, calls): (&str, usize),
    workers: &Workers,
    model: &Model,
    test: &Split,
) {
    let predictor = Predictor::new(model, workers).expect("initial weights");
    let numbers: Vec<u32> = (0..16).collect();
    let call = |images: usize| {
        let (predictor, numbers) = (&predictor, &numbers[..images]);
        let mut logits = vec![0.0; images * model.network.classes()];
        move || predictor.logits_of(test, numbers, &mut logits)
    };
    let mut group = criterion.benchmark_group("latency");
    group.sample_size(10).warm_up_time(Duration::from_millis(50));
    group.measurement_time(Duration::from_millis(100));
    let mut selected = false;
    group.bench_function(name, |bencher| {
        selected = true;
        bencher.iter(call(1));
    });
    group.finish();
    if !selected || !measuring() {
        return;
    }
    let of = |images: usize| {
        let mut call = call(images);
        let turn = move || workers.run(|| (0..calls).for_each(|_| call()));
        Contestant::new(format!("{images}"), turn)
    };
    let mut contestants: Vec<Contestant<'_>> = IMAGES.into_iter().map(of).collect();
    let mut lanes = in_lanes(workers.isa(), model, test);
    contestants.push(Contestant::new("16 in lanes", move || (0..calls).for_each(|_| lanes())));
    rounds(Peak::of_a_core(workers.isa()), &mut contestants);
    print(name, calls, &contestants);
}

/// Sixteen images on a tape.
fn in_lanes(isa: Isa, model: &Model, test: &Split) -> impl FnMut() {
    let scaling = Scaling::new(model.network.input()[0], &model.mean, &model.std);
    let images: Vec<Vec<u8>> = (0..16).map(|i| test.image(i)).collect();
    let mut memory = Workspace::default();
    move || {
        let mut tape = Tape::evaluation(isa, &mut memory, &model.weights);
        let x = scaling.input(&mut tape, 16, model.network.input(), |i| &images[i]);
        model.network.forward(&mut tape, x);
    }
}

fn print(name: &str, calls: usize, contestants: &[Contestant<'_>]) {
    println!("\n{name}");
    println!(
        "  {:12}{:>12}{:>12}{:>10}{:>12}",
        "images", "median µs", "best µs", "to one", "to lanes"
    );
    for one in contestants {
        println!(
            "  {:12}{:12.1}{:12.1}{:10.2}{:12.2}",
            one.name(),
            one.median() * 1e6 / calls as f64,
            one.best() * 1e6 / calls as f64,
            one.ratio(&contestants[0]),
            one.ratio(&contestants[IMAGES.len()]),
        );
    }
}

criterion_group!(benches, latency);
criterion_main!(benches);
