//! Every convolution of Bobbin's presets, and one of `resnet18` on small pictures: forward, data-gradient,
//! weight-gradient, one thread, two blocks of sixteen images. Everything that a call costs is counted, the transposing of
//! weights for the data-gradient included, and the packing of all operands in bfloat16, of layers that suit it: those are
//! shares of the bf16 peak. Products with padding are not counted as work, nor done.

mod measure;

use Precision::{Bf16, F32};
use autograd::Buffer;
use criterion::{Criterion, criterion_group, criterion_main};
use kernels::{Convolution, Epilogue, Isa, LANES, Operands, Precision, Start, Window, Winograd};
use measure::{Contestant, Peak, compare_precisions, measuring};
use std::time::Duration;

const BLOCKS: usize = 2;

/// Channels, rows = columns, outputs, kernel, padding, stride.
const LAYERS: [(&str, [usize; 6]); 18] = [
    ("lenet conv1", [1, 28, 6, 5, 0, 1]),
    ("lenet conv2", [6, 12, 16, 5, 0, 1]),
    ("cnn-bn 0", [1, 28, 16, 5, 2, 1]),
    ("cnn-bn 4", [16, 14, 32, 5, 2, 1]),
    ("vgg 0", [1, 28, 64, 3, 1, 1]),
    ("vgg 3", [64, 28, 64, 3, 1, 1]),
    ("vgg 7", [64, 14, 128, 3, 1, 1]),
    ("vgg 10", [128, 14, 128, 3, 1, 1]),
    ("vgg 14", [128, 7, 256, 3, 1, 1]),
    ("vgg 17", [256, 7, 256, 3, 1, 1]),
    ("resnet 3.body.0", [16, 28, 16, 3, 1, 1]),
    ("resnet 5.body.0", [16, 28, 32, 3, 1, 2]),
    ("resnet 5.shortcut.0", [16, 28, 32, 1, 0, 2]),
    ("resnet 6.body.0", [32, 14, 32, 3, 1, 1]),
    ("resnet 7.body.0", [32, 14, 64, 3, 1, 2]),
    ("resnet 8.body.0", [64, 7, 64, 3, 1, 1]),
    ("resnet 10.body.0", [128, 4, 128, 3, 1, 1]),
    ("resnet18 layer4.1.conv1", [512, 3, 512, 3, 1, 1]),
];

fn layers(criterion: &mut Criterion) {
    let isa = Isa::from_env().expect("the variable names a path");
    let mut group = criterion.benchmark_group("conv");
    group.sample_size(10).warm_up_time(Duration::from_millis(100));
    group.measurement_time(Duration::from_millis(300));
    for (name, [channels, size, outputs, kernel, padding, stride]) in LAYERS {
        let window = Window::new([kernel; 2]).padding(padding).stride(stride);
        let convolution = Convolution::new(channels, [size; 2], outputs, window);
        let convolution = convolution.expect("the window fits");
        let flops = 2 * BLOCKS * LANES * convolution.multiply_adds();
        let mut selected = false;
        let mut works = Works::new(isa, convolution);
        group.bench_function(name, |bencher| {
            selected = true;
            bencher.iter(|| works.all());
        });
        if selected && measuring() {
            let contestants = works.into_contestants();
            let peaks = vec![Peak::of_a_core(isa), Peak::of_a_core_in_bf16(isa)];
            compare_precisions(peaks, name, flops, contestants);
        }
    }
}

/// The three products of a layer, by im2col and, where it applies, by Winograd's transforms; in bfloat16 too.
struct Works(Vec<Work>);

type Work = (String, Precision, Box<dyn FnMut()>);

impl Works {
    fn new(isa: Isa, convolution: Convolution) -> Works {
        let mut works = Works(vec![]);
        works.im2col(isa, convolution);
        let mut precisions = vec![Precision::F32];
        if convolution.suits_bf16() {
            works.im2col_bf16(isa, convolution);
            precisions.push(Precision::Bf16);
        }
        for precision in precisions {
            if let Some(plan) = Winograd::with_precision(&convolution, precision) {
                works.winograd(isa, convolution, plan, precision);
            }
        }
        works
    }

    fn im2col(&mut self, isa: Isa, convolution: Convolution) {
        let Buffers { x, dy, w, mut y, mut dx, mut dw } = Buffers::new(&convolution);
        let mut transposed = numbers(convolution.weights());
        let (im2col, input, weights) = (convolution.forward(), x.clone(), w.clone());
        self.push("forward", F32, move || {
            kernels::implicit_gemm(isa, &im2col, product(&weights, &input), &mut y)
        });
        let (im2col, output) = (convolution.data_gradient(), dy.clone());
        self.push("data-gradient", F32, move || {
            let weights = if convolution.window().taps() == 1 {
                &w
            } else {
                kernels::transpose_weights(isa, &convolution, &w, &mut transposed);
                &transposed
            };
            kernels::implicit_gemm(isa, &im2col, product(weights, &output), &mut dx);
        });
        if convolution.suits_transposed_gradient() {
            let im2col = convolution.forward();
            let mut room = numbers(im2col.transposed_gradient());
            return self.push("weight-gradient", F32, move || {
                kernels::weight_gradient_transposed(isa, &im2col, [&x, &dy], &mut room, &mut dw);
            });
        }
        let im2col = convolution.weight_gradient();
        self.push("weight-gradient", F32, move || {
            kernels::weight_gradient(isa, &im2col, &x, &dy, &mut dw);
        });
    }

    fn im2col_bf16(&mut self, isa: Isa, convolution: Convolution) {
        let Buffers { x, dy, w, mut y, mut dx, mut dw } = Buffers::new(&convolution);
        let [input, output] =
            [convolution.input(), convolution.output()].map(|layout| layout.with_blocks(BLOCKS));
        let [mut x_pairs, mut dy_pairs] =
            [input, output].map(|layout| numbers(layout.pairs().len()));
        let (im2col, from, weights) = (convolution.forward_bf16(), x.clone(), w.clone());
        let mut packed = numbers(im2col.weights());
        self.push("forward", Bf16, move || {
            kernels::pack_pairs(isa, input, &from, &mut x_pairs);
            kernels::pack_weights(isa, &convolution, &weights, &mut packed);
            kernels::implicit_gemm(isa, &im2col, product(&packed, &x_pairs), &mut y);
        });
        let (im2col, from) = (convolution.data_gradient_bf16(), dy.clone());
        let mut packed = numbers(im2col.weights());
        self.push("data-gradient", Bf16, move || {
            kernels::pack_pairs(isa, output, &from, &mut dy_pairs);
            kernels::pack_weights_transposed(isa, &convolution, &w, &mut packed);
            kernels::implicit_gemm(isa, &im2col, product(&packed, &dy_pairs), &mut dx);
        });
        let im2col = convolution.weight_gradient_bf16();
        let (mut pairs, mut room) = (numbers(x.len() / 2), numbers(im2col.transposed_gradient()));
        self.push("weight-gradient", Bf16, move || {
            kernels::pack_neighbours(isa, &x, &mut pairs);
            kernels::weight_gradient_transposed(isa, &im2col, [&pairs, &dy], &mut room, &mut dw);
        });
    }

    /// As the tape does it: the weights are transformed once, by the forward product.
    fn winograd(
        &mut self,
        isa: Isa,
        convolution: Convolution,
        plan: Winograd,
        precision: Precision,
    ) {
        let Buffers { x, dy, w, mut y, mut dx, mut dw } = Buffers::new(&convolution);
        let mut u = numbers(plan.weights());
        let [mut scratch, mut scratch2, mut scratch3] = [(); 3].map(|()| numbers(plan.scratch()));
        let (p, input, mut weights) = (plan.clone(), x.clone(), u.clone());
        kernels::winograd_weights(isa, &plan, &w, &mut u);
        self.push("forward, Winograd", precision, move || {
            kernels::winograd_weights(isa, &p, &w, &mut weights);
            kernels::winograd(isa, &p, product(&weights, &input), &mut scratch, &mut y);
        });
        let (p, output) = (plan.clone(), dy.clone());
        self.push("data-gradient, Winograd", precision, move || {
            kernels::winograd_data_gradient(isa, &p, product(&u, &output), &mut scratch2, &mut dx);
        });
        self.push("weight-gradient, Winograd", precision, move || {
            kernels::winograd_weight_gradient(isa, &plan, &x, &dy, &mut scratch3, &mut dw);
        });
    }

    fn push(&mut self, name: &str, precision: Precision, work: impl FnMut() + 'static) {
        let name = if precision == Bf16 { format!("{name}, bf16") } else { name.to_owned() };
        self.0.push((name, precision, Box::new(work)));
    }

    fn all(&mut self) {
        self.0.iter_mut().for_each(|(_, _, work)| work());
    }

    fn into_contestants(self) -> Vec<Contestant<'static>> {
        let works = self.0.into_iter();
        works.map(|(name, how, work)| Contestant::new(name, work).in_precision(how)).collect()
    }
}

/// A plain product of weights with activations.
fn product<'a>(weights: &'a [f32], x: &'a [f32]) -> Operands<'a> {
    Operands { weights, x, start: Start::Zero, epilogue: Epilogue::None }
}

/// The tensors of a layer.
struct Buffers {
    x: Buffer,
    dy: Buffer,
    w: Buffer,
    y: Buffer,
    dx: Buffer,
    dw: Buffer,
}

impl Buffers {
    fn new(convolution: &Convolution) -> Buffers {
        let [x, y] = [convolution.input(), convolution.output()].map(|l| BLOCKS * l.len());
        let w = convolution.weights();
        let [x, dx, y, dy, w, dw] = [x, x, y, y, w, w].map(numbers);
        Buffers { x, dy, w, y, dx, dw }
    }
}

fn numbers(len: usize) -> Buffer {
    let mut buffer = Buffer::zeros(len);
    for (i, value) in buffer.iter_mut().enumerate() {
        *value = (i * i % 17) as f32 / 8.0 - 1.0;
    }
    buffer
}

criterion_group!(benches, layers);
criterion_main!(benches);
