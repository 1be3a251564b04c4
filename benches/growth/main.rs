//! How cost grows: training steps against the size of the batch, channels, the size of images and
//! threads, and memory against the batch.
//!
//! ```text
//! cargo bench --bench growth                                every sweep, as tables
//! cargo bench --bench growth -- batch threads               these sweeps
//! cargo bench --bench growth -- --write docs/performance    plots and growth.json too
//! ```
//!
//! The points of a sweep take turns with the FMA peak of all threads, see `measure`. Recipes are the
//! defaults, but for network and batch.

mod memory;
mod plot;
mod synthetic;

#[path = "../measure/mod.rs"]
mod measure;

use dataset::{Dataset, Source};
use kernels::Isa;
use measure::steps::{Steps, recipe, trainer_of};
use measure::{Contestant, Peak, measuring, rounds};
use model::{Layer, conv2d, flatten, global_avg_pool2d, layers, linear, max_pool2d, relu};
use plot::{Axis, Line, Plot};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;
use trainer::{Trainer, Workers};

/// Long enough for each thread to find a core.
const CALL_SECONDS: f64 = 0.01;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut write, mut wanted) = (None, vec![]);
    while let Some(argument) = arguments.next() {
        match &*argument {
            memory::CHILD => return memory::child(arguments),
            // Cargo runs a bench in its package's directory, which is not where the user is.
            "--write" => write = arguments.next().map(|path| PathBuf::from("..").join(path)),
            name if !name.starts_with('-') => wanted.push(argument),
            _ => {}
        }
    }
    let mut results = Map::new();
    let mut plots = vec![];
    for (name, sweep) in SWEEPS {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            let (result, plot) = sweep();
            results.insert(name.into(), result);
            plots.push((name, plot));
        }
    }
    if let Some(directory) = write
        && let Err(error) = save(&directory, results, &plots)
    {
        eprintln!("error: {}: {error}", directory.display());
        std::process::exit(1);
    }
}

/// What was found, and how it looks.
type Sweep = fn() -> (Value, Plot);

const SWEEPS: [(&str, Sweep); 5] = [
    ("batch", batch),
    ("channels", channels),
    ("size", size),
    ("threads", threads),
    ("memory", memory::sweep),
];

/// Writes the plots, and the figures into what growth.json already holds of other sweeps.
fn save(
    directory: &Path,
    results: Map<String, Value>,
    plots: &[(&str, Plot)],
) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(directory)?;
    let path = directory.join("growth.json");
    let mut all: Map<String, Value> = match std::fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text)?,
        Err(_) => Map::new(),
    };
    all.extend(results);
    std::fs::write(path, serde_json::to_string_pretty(&all)? + "\n")?;
    for (name, plot) in plots {
        plot.draw(&directory.join(format!("growth-{name}.svg")))?;
    }
    Ok(())
}

/// How many points of a sweep are run: all, or two as a test.
fn points<T>(all: &[T]) -> &[T] {
    if measuring() { all } else { &all[..2.min(all.len())] }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn workers(threads: usize) -> Workers {
    let isa = Isa::from_env().expect("the variable names a path");
    Workers::new(isa, threads).expect("threads can be started")
}

/// The bundled data set.
fn bundled() -> Dataset {
    let source = Source::bundled().expect("the data set is in the repository");
    Dataset::open(&source).expect("the bundled data set is whole")
}

/// A point of a sweep: steps at one value of what is on the axis.
struct Point<'a> {
    x: usize,
    /// Of a call.
    images: usize,
    flops: usize,
    measured: Contestant<'a>,
}

impl Point<'_> {
    /// What is on the axis, and the least microseconds per image.
    fn time(&self) -> (f64, f64) {
        (self.x as f64, 1e6 * self.measured.best() / self.images as f64)
    }

    /// How many times as long as another it takes, per image.
    fn ratio(&self, other: &Point<'_>) -> f64 {
        self.measured.ratio(&other.measured) * other.images as f64 / self.images as f64
    }
}

/// Measures steps side by side and prints a table; `axis` says what `x` of each point is, and
/// the FMA peak is that of all threads of `all`. As a test it makes two calls of each instead, and there are no points.
fn measure_all<'a>(
    [title, axis]: [&str; 2],
    all: &'a Workers,
    steps: impl Iterator<Item = (usize, Steps<'a>)>,
) -> (Value, Vec<Point<'a>>) {
    let (mut points, mut contestants) = (vec![], vec![]);
    for (x, mut steps) in steps {
        steps.call();
        let start = Instant::now();
        steps.call();
        steps.set_steps((CALL_SECONDS / start.elapsed().as_secs_f64()).ceil() as usize);
        points.push((x, steps.images(), steps.flops()));
        contestants.push(Contestant::new(x.to_string(), move || steps.call()));
    }
    if !measuring() {
        return (Value::Null, vec![]);
    }
    let peak = rounds(Peak::of_workers(all), &mut contestants);
    println!("\n{title}: FMA peak of {} threads {:.1} GFLOP/s", all.threads(), peak / 1e9);
    println!(
        "  {axis:>13}{:>16}{:>16}{:>12}{:>10}{:>11}",
        "median µs/image", "best µs/image", "images/s", "GFLOP/s", "% of peak"
    );
    let point = |((x, images, flops), measured)| Point { x, images, flops, measured };
    let points: Vec<Point<'_>> = points.into_iter().zip(contestants).map(point).collect();
    let rows = points.iter().map(|Point { x, images, flops, measured }| {
        let [best, median] = [measured.best(), measured.median()].map(|s| s / *images as f64);
        let flops = flops / images;
        let part = flops as f64 / best / peak;
        println!(
            "  {x:13}{:16.3}{:16.3}{:12.0}{:10.1}{:11.1}",
            1e6 * median,
            1e6 * best,
            1.0 / best,
            1e-9 * flops as f64 / best,
            100.0 * part
        );
        json!({
            axis: x, "seconds_per_image_best": best, "seconds_per_image_median": median,
            "flops_per_image": flops, "part_of_peak": part,
        })
    });
    let rows: Vec<Value> = rows.collect();
    (json!({ "threads": all.threads(), "peak_flops": peak, "points": rows }), points)
}

/// Microseconds per image if all went at the FMA peak.
fn ideal(points: &[Point<'_>], result: &Value) -> Line {
    let peak = result["peak_flops"].as_f64().unwrap_or(f64::NAN);
    let time = |p: &Point<'_>| (p.x as f64, 1e6 * (p.flops / p.images) as f64 / peak);
    Line::dashed("at the FMA peak", points.iter().map(time).collect())
}

fn batch() -> (Value, Plot) {
    // Sizes that are no multiple of sixteen come before the multiple that they are padded to.
    const SIZES: [usize; 16] =
        [16, 17, 32, 40, 48, 64, 100, 112, 128, 256, 512, 1000, 1008, 1024, 2048, 4096];
    let (data, all) = (bundled(), workers(cores()));
    let pools: Vec<Workers> = SIZES.iter().map(|_| workers(cores())).collect();
    let (mut results, mut lines) = (Map::new(), vec![]);
    for preset in ["lenet", "cnn-bn"] {
        let steps = points(&SIZES).iter().zip(&pools).map(|(batch, pool)| {
            (*batch, Steps::new(trainer_of(preset, *batch, &data, pool), 60_000, pool, 1))
        });
        let (result, points) = measure_all([preset, "batch"], &all, steps);
        for pair in points.windows(2).filter(|pair| !pair[0].x.is_multiple_of(16)) {
            let (odd, padded) = (&pair[0], &pair[1]);
            let step = odd.ratio(padded) * odd.x as f64 / padded.x as f64;
            println!("  a step of {} takes {step:.2} times one of {}", odd.x, padded.x);
        }
        lines.push(Line::solid(preset, points.iter().map(Point::time).collect()));
        results.insert(preset.into(), result);
    }
    let title = "Training: time per image against the size of the batch";
    let (x, y) = (Axis::log("images in the batch", 2.0), Axis::log("µs per image", 10.0));
    (results.into(), Plot::new(title, x, y, lines))
}

/// Three 3×3 convolutions on images of 14×14: 1→C, C→C, C→C, batches of 64.
fn channels() -> (Value, Plot) {
    const CHANNELS: [usize; 10] = [8, 16, 24, 32, 48, 64, 96, 128, 256, 512];
    let layers = |channels: usize| {
        let mut layers = vec![];
        for _ in 0..3 {
            layers.extend(layers![conv2d(channels, 3).padding(1), relu()]);
        }
        layers.extend(layers![global_avg_pool2d(), flatten(), linear(10)]);
        layers
    };
    let title = "Training: time per image against channels (3×3 convolutions at 14×14)";
    of_layers(title, "channels", points(&CHANNELS), |c| (14, layers(c)))
}

/// Two 3×3 convolutions of 16 and 32 channels, each with ReLU and max-pool, batches of 64.
fn size() -> (Value, Plot) {
    const SIZES: [usize; 10] = [8, 12, 16, 24, 28, 32, 48, 64, 96, 128];
    let layers = || {
        let stage = |channels| layers![conv2d(channels, 3).padding(1), relu(), max_pool2d(2)];
        [stage(16), stage(32), layers![flatten(), linear(10)]].concat()
    };
    let title =
        "Training: time per image against its size (3×3 convolutions to 16 and 32 channels)";
    of_layers(title, "pixels a side", points(&SIZES), |size| (size, layers()))
}

/// A sweep over networks on random square images; `network` gives size of images, and layers.
fn of_layers(
    title: &str,
    axis: &str,
    sizes: &[usize],
    network: impl Fn(usize) -> (usize, Vec<Layer>),
) -> (Value, Plot) {
    const BATCH: usize = 64;
    let all = workers(cores());
    let pools: Vec<Workers> = sizes.iter().map(|_| workers(cores())).collect();
    let networks: Vec<_> = sizes.iter().map(|x| network(*x)).collect();
    let sets: Vec<_> =
        networks.iter().map(|(size, _)| synthetic::images(4 * BATCH, *size)).collect();
    let recipe = recipe("lenet", BATCH);
    let steps = (0..sizes.len()).map(|i| {
        let (data, pool) = (&sets[i].1, &pools[i]);
        let trainer = Trainer::with_layers(&recipe, &networks[i].1, data, pool);
        (sizes[i], Steps::new(trainer.expect("the layers fit"), 4 * BATCH, pool, 1))
    });
    let (result, points) = measure_all([title, axis], &all, steps);
    let measured = Line::solid("measured", points.iter().map(Point::time).collect());
    let lines = vec![measured, ideal(&points, &result)];
    (result, Plot::new(title, Axis::log(axis, 2.0), Axis::log("µs per image", 10.0), lines))
}

fn threads() -> (Value, Plot) {
    const THREADS: [usize; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
    let (data, all) = (bundled(), workers(cores()));
    let pools: Vec<Workers> = THREADS.iter().map(|threads| workers(*threads)).collect();
    let (mut results, mut lines) = (Map::new(), vec![]);
    for (preset, batch) in [("lenet", 256), ("vgg", 64)] {
        let steps = points(&pools).iter().map(|pool| {
            (pool.threads(), Steps::new(trainer_of(preset, batch, &data, pool), 60_000, pool, 1))
        });
        let title = format!("{preset}, batch {batch}");
        let (result, points) = measure_all([&title, "threads"], &all, steps);
        for more in points.iter().skip(cores()) {
            let ratio = more.ratio(&points[cores() - 1]);
            println!("  {} threads take {ratio:.2} times as long as {}", more.x, cores());
        }
        let speed = |p: &Point<'_>| (p.x as f64, points[0].time().1 / p.time().1);
        lines.push(Line::solid(&title, points.iter().map(speed).collect()));
        results.insert(preset.into(), result);
    }
    let cores = cores();
    let ideal = THREADS.iter().map(|n| (*n as f64, (*n).min(cores) as f64)).collect();
    lines.push(Line::dashed(&format!("all of {cores} cores"), ideal));
    let title = "Training: speed against threads";
    (
        results.into(),
        Plot::new(title, Axis::linear("threads"), Axis::linear("times one thread"), lines),
    )
}
