//! Every convolution of the presets: forward, data-gradient, weight-gradient, one thread, two blocks
//! of sixteen images. Everything that a call costs is counted, the transposing of weights for the
//! data-gradient included. Products with padding are not counted as work, nor done.

mod measure;

use autograd::Buffer;
use criterion::{Criterion, criterion_group, criterion_main};
use kernels::{Convolution, Isa, LANES, Start, Window};
use measure::{Contestant, Peak, compare, measuring};
use std::time::Duration;

const BLOCKS: usize = 2;

/// Channels, rows = columns, outputs, kernel, padding, stride.
const LAYERS: [(&str, [usize; 6]); 17] = [
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
            let Works { forward, data, weight, .. } = works;
            let contestants = vec![
                Contestant::new("forward", forward),
                Contestant::new("data-gradient", data),
                Contestant::new("weight-gradient", weight),
            ];
            compare(Peak::of_a_core(isa), name, flops, contestants);
        }
    }
}

/// The three products of a layer.
struct Works {
    forward: Box<dyn FnMut()>,
    data: Box<dyn FnMut()>,
    weight: Box<dyn FnMut()>,
}

impl Works {
    fn new(isa: Isa, convolution: Convolution) -> Works {
        let [x_len, y_len] = [convolution.input, convolution.output].map(|l| BLOCKS * l.len());
        let (x, dy, w) = (numbers(x_len), numbers(y_len), numbers(convolution.weights()));
        let (mut y, mut dx) = (numbers(y_len), numbers(x_len));
        let mut dw = numbers(convolution.weights());
        let mut transposed = numbers(convolution.transposed_weights());
        let forward = {
            let (patches, x, w) = (convolution.forward(), x.clone(), w.clone());
            move || kernels::contract(isa, &patches, &w, &x, Start::Zero, false, &mut y)
        };
        let data = {
            let (patches, dy) = (convolution.data_gradient(), dy.clone());
            move || {
                let weights = if convolution.window.taps() == 1 {
                    &w
                } else {
                    kernels::transpose_weights(isa, &convolution, &w, &mut transposed);
                    &transposed
                };
                kernels::contract(isa, &patches, weights, &dy, Start::Zero, false, &mut dx);
            }
        };
        let patches = convolution.weight_gradient();
        let weight = move || kernels::correlate(isa, &patches, &x, &dy, &mut dw);
        Works { forward: Box::new(forward), data: Box::new(data), weight: Box::new(weight) }
    }

    fn all(&mut self) {
        (self.forward)();
        (self.data)();
        (self.weight)();
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
