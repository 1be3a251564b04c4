//! The depthwise convolutions of MobileNetV2 at 3×224×224, batch 64: forward, and both gradients, on all threads or one,
//! beside the speed of memory.
//!
//! `cargo bench --bench depthwise -- [threads [layer [batch]]]`, where `-` is any. Calls alternate with a copy of the
//! input; shown are the best time, the bytes per second of the copy (read and written), and the share of them: tensors are
//! read or written once (x and y forward; x, dy and dx backward). Beside it stands the forward pass by the implicit GEMM, a
//! group to a channel.

mod measure;

use autograd::Buffer;
use kernels::{
    Conv2dOptions, Convolution, Cores, Cost, Depthwise, DepthwiseTensors, Epilogue, Isa, LANES,
    Operands, Start, Store, Team, Window,
};
use measure::{Contestant, Peak, measuring, rounds};

/// Channels, rows = columns, stride.
const LAYERS: [[usize; 3]; 10] = [
    [32, 112, 1],
    [96, 112, 2],
    [144, 56, 1],
    [144, 56, 2],
    [192, 28, 1],
    [192, 28, 2],
    [384, 14, 1],
    [576, 14, 1],
    [576, 14, 2],
    [960, 7, 1],
];

/// Threads for the parts of one call.
struct Threads(usize);

// SAFETY: each number is called once, and `scope` returns when all calls have.
unsafe impl Team for Threads {
    fn size(&self) -> usize {
        self.0
    }

    fn most(&self) -> usize {
        self.0
    }

    fn run(&self, parts: usize, part: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            for i in 1..parts {
                scope.spawn(move || part(i));
            }
            part(0);
        });
    }
}

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let argument = |i: usize| arguments.get(i).filter(|word| *word != "-");
    let number = |i: usize| argument(i).map(|word| word.parse::<usize>().expect("a number"));
    let isa = Isa::from_env().expect("the variable names a path");
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let team = Threads(number(0).unwrap_or(processors));
    let cores = Cores::new(isa, &team);
    let batch = number(2).unwrap_or(if measuring() { 64 } else { LANES });
    println!("batch {batch}, {} threads, {isa}", team.0);
    println!("{:16}{:>27}{:>27}{:>27}", "", "forward", "backward", "forward by groups");
    print!("{:16}", "");
    (0..3).for_each(|_| print!("{:>10}{:>9}{:>8}", "ms", "GB/s", "%"));
    println!();
    let layers = LAYERS.iter().enumerate();
    for (_, layer) in layers.filter(|(i, _)| number(1).is_none_or(|only| only == *i)) {
        row(cores, *layer, batch / LANES);
    }
}

fn row(cores: Cores<'_>, [channels, size, stride]: [usize; 3], blocks: usize) {
    let options =
        Conv2dOptions::from(Window::new([3, 3]).padding(1).stride(stride)).groups(channels);
    let layer = Convolution::new(channels, [size; 2], channels, options).expect("it fits");
    let plan = Depthwise::new(&layer).expect("a channel to a group");
    let [x, y] = [layer.input(), layer.output()].map(|l| l.with_blocks(blocks).len());
    let weights = numbers(layer.weights());
    let (input, dy) = (numbers(x), numbers(y));
    let (mut output, mut dx, mut dw) = (numbers(y), numbers(x), numbers(layer.weights()));
    let (mut copy, mut grouped) = (numbers(x), numbers(y));
    let operands =
        Operands { weights: &weights, x: &input, start: Start::Zero, epilogue: Epilogue::None };
    let tensors = DepthwiseTensors { weights: &weights, x: &input, dy: &dy };
    let im2col = layer.forward();
    print!("{:16}", format!("{channels} @ {size} / {stride}"));
    let mut show = |floats: usize, work: &mut dyn FnMut()| {
        let mut copied = || {
            cores.each_piece(&mut copy, 1024, Cost::floats(2 * x), |first, to| {
                to.copy_from_slice(&input[first..first + to.len()]);
            });
        };
        let bytes = |floats: usize| floats * size_of::<f32>();
        let peak = Peak { flops: bytes(2 * x), work: Box::new(&mut copied), name: "copy" };
        let mut contestants = vec![Contestant::new("", work)];
        let bandwidth = rounds(peak, &mut contestants);
        let seconds = contestants[0].best();
        let share = 100.0 * bytes(floats) as f64 / seconds / bandwidth;
        print!("{:10.3}{:9.1}{share:8.0}", seconds * 1e3, bandwidth / 1e9);
    };
    show(x + y, &mut || kernels::depthwise(cores, &plan, operands, &mut output));
    show(2 * x + y, &mut || {
        let to = Some((&mut dx[..], Store::Overwrite));
        kernels::depthwise_gradients(cores, &plan, tensors, &mut dw, to);
    });
    show(x + y, &mut || kernels::implicit_gemm(cores, &im2col, operands, &mut grouped));
    println!();
}

fn numbers(len: usize) -> Buffer {
    let mut buffer = Buffer::zeros(len);
    for (i, value) in buffer.iter_mut().enumerate() {
        *value = (i * i % 17) as f32 / 8.0 - 1.0;
    }
    buffer
}
