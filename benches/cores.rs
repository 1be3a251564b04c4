//! Training steps on one thread and on all, side by side: what more threads gain where a batch is one
//! shard, a few, or as many as the recipe has.
//!
//! `cargo bench --bench cores -- [network [batch [shard [threads]]]]`, where `-` is any of the list, and
//! shard 0 that of the recipe. Calls alternate, each of about 50 ms; what is shown is the median of the
//! ratios of neighbours, and of the times.

mod measure;

use dataset::{Dataset, Source};
use kernels::Isa;
use measure::steps::{Steps, recipe};
use std::time::{Duration, Instant};
use trainer::{Recipe, Trainer, Workers};

const NETWORKS: [&str; 4] = ["lenet", "cnn-bn", "vgg", "resnet"];
const BATCHES: [usize; 3] = [16, 32, 64];

/// How long a call takes, and how many pairs of calls there are.
const CALL: Duration = Duration::from_millis(50);
const ROUNDS: usize = 11;

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let argument = |i: usize| arguments.get(i).filter(|word| *word != "-");
    let number = |i: usize| argument(i).map(|word| word.parse().expect("a number"));
    let isa = Isa::from_env().expect("the variable names a path");
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = number(3).unwrap_or(processors);
    let data = Dataset::open(&Source::bundled().expect("the data set is in the repository"));
    let data = data.expect("the bundled data set is whole");
    let workers = [1, threads].map(|n| Workers::new(isa, n).expect("threads can be started"));
    for network in NETWORKS.iter().filter(|name| argument(0).is_none_or(|word| word == *name)) {
        for batch in BATCHES.into_iter().filter(|n| number(1).is_none_or(|word| word == *n)) {
            for shard in number(2).map_or(vec![batch, 0], |shard| vec![shard]) {
                row(network, batch, shard, &data, &workers);
            }
        }
    }
}

fn row(network: &str, batch: usize, shard: usize, data: &Dataset, workers: &[Workers; 2]) {
    let mut recipe: Recipe = recipe(network, batch);
    recipe.data.shard = Some(shard).filter(|shard| *shard > 0);
    let shard = recipe.shard();
    let mut steps = workers.each_ref().map(|workers| {
        let trainer = Trainer::new(&recipe, data, workers).expect("the preset fits");
        Steps::new(trainer, 4096, workers, 1)
    });
    let time = |steps: &mut Steps<'_>| {
        let started = Instant::now();
        steps.call();
        started.elapsed()
    };
    for steps in &mut steps {
        let once = (0..3).map(|_| time(steps)).min().expect("three");
        steps.set_steps(CALL.div_duration_f64(once).ceil() as usize);
        time(steps);
    }
    let images = steps.each_ref().map(Steps::images);
    let mut rounds: Vec<[f64; 2]> = (0..ROUNDS)
        .map(|_| {
            let [alone, together] = &mut steps;
            [
                time(alone).as_secs_f64() / images[0] as f64,
                time(together).as_secs_f64() / images[1] as f64,
            ]
        })
        .collect();
    rounds.sort_by(|a, b| (a[0] / a[1]).total_cmp(&(b[0] / b[1])));
    let ratio = rounds[ROUNDS / 2];
    let median = |i: usize| {
        let mut times: Vec<f64> = rounds.iter().map(|round| round[i]).collect();
        times.sort_by(f64::total_cmp);
        1.0 / times[ROUNDS / 2]
    };
    println!(
        "{network:7} batch {batch:3} shard {shard:3}: {:9.0} images/s on 1 thread, {:9.0} on {}: {:.2}",
        median(0),
        median(1),
        workers[1].threads(),
        ratio[0] / ratio[1],
    );
}
