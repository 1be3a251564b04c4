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

use kernels::Isa;
use measure::steps::{Steps, recipe, trainer_of};
use measure::{Contestant, Peak, measuring, rounds};
use model::{Layer, conv2d, flatten, global_avg_pool2d, linear, max_pool2d, relu};
use plot::{Axis, Line, Plot};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;
use trainer::{Dataset, Source, Trainer, Workers};

/// Long enough for each thread to find a core.
const CALL_SECONDS: f64 = 0.01;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut write, mut wanted) = (None, vec![]);
    while let Some(argument) = arguments.next() {
        match &*argument {
            memory::CHILD => return memory::child(arguments),
            "--write" => write = arguments.next().map(PathBuf::from),
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
    if let Some(directory) = write {
        if let Err(error) = save(&directory, results, &plots) {
            eprintln!("error: {}: {error}", directory.display());
            std::process::exit(1);
        }
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

/// A point of a sweep that has been measured.
struct Point {
    x: usize,
    images: usize,
    flops: usize,
    best: f64,
    median: f64,
    /// How many times as long as the point before it takes, per image.
    ratio: f64,
}

/// Measures steps side by side and prints a table; `axis` says what `x` of each point is.
fn measure_all(title: &str, axis: &str, steps: Vec<(usize, Steps<'_>)>) -> (Value, Vec<Point>) {
    let all = workers(cores());
    let mut sizes = vec![];
    let mut contestants = vec![];
    for (x, mut steps) in steps {
        steps.call();
        let start = Instant::now();
        steps.call();
        let count = (CALL_SECONDS / start.elapsed().as_secs_f64()).ceil() as usize;
        steps.set_steps(if measuring() { count } else { 1 });
        sizes.push((x, steps.images(), steps.flops()));
        contestants.push(Contestant::new("", move || steps.call()));
    }
    let peak =
        if measuring() { rounds(Peak::of_workers(&all), &mut contestants) } else { f64::NAN };
    println!("\n{title}: FMA peak of {} threads {:.1} GFLOP/s", all.threads(), peak / 1e9);
    println!(
        "  {axis:>10}{:>16}{:>16}{:>12}{:>10}{:>11}",
        "median µs/image", "best µs/image", "images/s", "GFLOP/s", "% of peak"
    );
    let mut points = vec![];
    for (i, (x, images, flops)) in sizes.iter().copied().enumerate() {
        if !measuring() {
            break;
        }
        let (one, before) = (&contestants[i], i.saturating_sub(1));
        let ratio = one.ratio(&contestants[before]) * sizes[before].1 as f64 / images as f64;
        let (best, median) = (one.best(), one.median());
        points.push(Point { x, images, flops, best, median, ratio });
        let (per_image, rate) = (1e6 / images as f64, flops as f64 / best);
        println!(
            "  {x:10}{:16.3}{:16.3}{:12.0}{:10.1}{:11.1}",
            median * per_image,
            best * per_image,
            images as f64 / best,
            rate / 1e9,
            100.0 * rate / peak
        );
    }
    let rows = points.iter().map(|point| {
        let images = point.images as f64;
        json!({
            axis: point.x,
            "seconds_per_image_best": point.best / images,
            "seconds_per_image_median": point.median / images,
            "flops_per_image": point.flops / point.images,
            "part_of_peak": point.flops as f64 / point.best / peak,
        })
    });
    let rows: Vec<Value> = rows.collect();
    (json!({ "threads": all.threads(), "peak_flops": peak, "points": rows }), points)
}

/// Microseconds per image, against what is on the axis.
fn per_image(points: &[Point]) -> Vec<(f64, f64)> {
    points.iter().map(|p| (p.x as f64, p.median * 1e6 / p.images as f64)).collect()
}

/// Microseconds per image if all went at the FMA peak.
fn ideal(points: &[Point], result: &Value) -> Line {
    let peak = result["peak_flops"].as_f64().unwrap_or(f64::NAN);
    let time = |p: &Point| (p.x as f64, 1e6 * p.flops as f64 / p.images as f64 / peak);
    Line::dashed("at the FMA peak", points.iter().map(time).collect())
}

fn batch() -> (Value, Plot) {
    // Sizes that are no multiple of sixteen come before the multiple that they are padded to.
    const SIZES: [usize; 16] =
        [16, 17, 32, 40, 48, 64, 100, 112, 128, 256, 512, 1000, 1008, 1024, 2048, 4096];
    let data = bundled();
    let pools: Vec<Workers> = SIZES.iter().map(|_| workers(cores())).collect();
    let (mut results, mut lines) = (Map::new(), vec![]);
    for preset in ["lenet", "cnn-bn"] {
        let steps = points(&SIZES).iter().zip(&pools).map(|(batch, pool)| {
            (*batch, Steps::new(trainer_of(preset, *batch, &data, pool), 60_000, pool, 1))
        });
        let (result, points) = measure_all(preset, "batch", steps.collect());
        for pair in points.windows(2).filter(|pair| !pair[0].x.is_multiple_of(16)) {
            let (odd, padded) = (&pair[0], &pair[1]);
            let step = padded.x as f64 / odd.x as f64 * padded.ratio;
            println!("  a step of {} takes {:.2} times one of {}", odd.x, 1.0 / step, padded.x);
        }
        lines.push(Line::solid(preset, per_image(&points)));
        results.insert(preset.into(), result);
    }
    let title = "Training: time per image against the size of the batch";
    (
        results.into(),
        Plot::new(title, Axis::log("images in the batch"), Axis::log("µs per image"), lines),
    )
}

/// Three 3×3 convolutions on images of 14×14: 1→C, C→C, C→C, batches of 64.
fn channels() -> (Value, Plot) {
    const CHANNELS: [usize; 10] = [8, 16, 24, 32, 48, 64, 96, 128, 256, 512];
    let layers = |channels: usize| {
        let mut layers = vec![];
        for _ in 0..3 {
            layers.extend([conv2d(channels, 3).padding(1), relu()]);
        }
        layers.extend([global_avg_pool2d(), flatten(), linear(10)]);
        layers
    };
    let title = "Training: time per image against channels (3×3 convolutions at 14×14)";
    of_layers(title, "channels", points(&CHANNELS), |c| (14, layers(c)))
}

/// Two 3×3 convolutions of 16 and 32 channels, each with ReLU and max-pool, batches of 64.
fn size() -> (Value, Plot) {
    const SIZES: [usize; 10] = [8, 12, 16, 24, 28, 32, 48, 64, 96, 128];
    let layers = || {
        let stage = |channels| [conv2d(channels, 3).padding(1), relu(), max_pool2d(2)];
        stage(16).into_iter().chain(stage(32)).chain([flatten(), linear(10)]).collect()
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
    let (result, points) = measure_all(title, axis, steps.collect());
    let lines = vec![Line::solid("measured", per_image(&points)), ideal(&points, &result)];
    (result, Plot::new(title, Axis::log(axis), Axis::log("µs per image"), lines))
}

fn threads() -> (Value, Plot) {
    const THREADS: [usize; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
    let data = bundled();
    let pools: Vec<Workers> = THREADS.iter().map(|threads| workers(*threads)).collect();
    let (mut results, mut lines) = (Map::new(), vec![]);
    for (preset, batch) in [("lenet", 256), ("vgg", 64)] {
        let steps = points(&pools).iter().map(|pool| {
            (pool.threads(), Steps::new(trainer_of(preset, batch, &data, pool), 60_000, pool, 1))
        });
        let title = format!("{preset}, batch {batch}");
        let (result, points) = measure_all(&title, "threads", steps.collect());
        let speed = |p: &Point| {
            (p.x as f64, points[0].best / points[0].images as f64 * p.images as f64 / p.best)
        };
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
