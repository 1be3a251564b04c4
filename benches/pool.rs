//! Pooling of the presets, one thread, two blocks of sixteen images; an operation is counted per
//! input. The convolution with fused ReLU and max-pool stands beside the separate passes.

mod measure;

use autograd::Buffer;
use criterion::{Criterion, criterion_group, criterion_main};
use kernels::{
    Activation, Convolution, Epilogue, Isa, LANES, Layout, Operands, Start, Store, Window,
};
use measure::{Contestant, Peak, compare, measuring};
use std::time::Duration;

const BLOCKS: usize = 2;

/// A name, and one way of doing the work.
type Work<'a> = (&'a str, Box<dyn FnMut() + 'a>);

fn pools(criterion: &mut Criterion) {
    let isa = Isa::from_env().expect("the variable names a path");
    for (name, channels, size) in [
        ("max-pool 2x2, 16 @ 28 (cnn-bn)", 16, 28),
        ("max-pool 2x2, 64 @ 28 (vgg)", 64, 28),
        ("max-pool 2x2, 128 @ 14 (vgg)", 128, 14),
    ] {
        let layout = Layout::new(BLOCKS, channels, [size; 2]);
        let window = Window::new([2, 2]).stride(2);
        let pooled = layout.with_size([size / 2; 2]);
        let (x, dy) = (numbers(layout.len()), numbers(pooled.len()));
        let (mut y, mut dx) = (numbers(pooled.len()), numbers(layout.len()));
        kernels::max_pool(isa, &x, &layout, window, &mut y);
        let taken = y.clone();
        let forward = || kernels::max_pool(isa, &x, &layout, window, &mut y);
        let backward = || {
            let xy: [&[f32]; 2] = [&x, &taken];
            kernels::max_pool_backward(isa, xy, &dy, &layout, window, &mut dx, Store::Overwrite);
        };
        let works =
            [("forward", Box::new(forward) as Box<dyn FnMut()>), ("backward", Box::new(backward))];
        measure_all(criterion, isa, name, BLOCKS * LANES * channels * size * size, works.into());
    }
    let layout = Layout::new(BLOCKS, 256, [7; 2]);
    let (x, mut y) = (numbers(layout.len()), numbers(BLOCKS * 256 * LANES));
    let average = || kernels::global_avg_pool(isa, &x, &layout, &mut y);
    let works = vec![("forward", Box::new(average) as Box<dyn FnMut()>)];
    measure_all(criterion, isa, "global average, 256 @ 7 (vgg)", BLOCKS * LANES * 256 * 49, works);
    fused(criterion, isa);
}

/// LeNet's convolutions with ReLU and max-pool, in one pass and in three.
fn fused(criterion: &mut Criterion, isa: Isa) {
    for (name, channels, size, outputs) in
        [("lenet conv1 + relu + pool", 1, 28, 6), ("lenet conv2 + relu + pool", 6, 12, 16)]
    {
        let convolution = Convolution::new(channels, [size; 2], outputs, Window::new([5, 5]));
        let convolution = convolution.expect("the window fits");
        let full = convolution.output().with_blocks(BLOCKS);
        let pooled = full.with_size(full.size().map(|n| n / 2));
        let (x, w) = (numbers(BLOCKS * convolution.input().len()), numbers(convolution.weights()));
        let bias = numbers(outputs);
        let (forward, fused) = (convolution.forward(), convolution.forward_pooled());
        let fused = fused.expect("there is no padding");
        let (mut y, mut relu) = (numbers(full.len()), numbers(full.len()));
        let (mut out, mut out_fused) = (numbers(pooled.len()), numbers(pooled.len()));
        let mut masks = vec![[0; 4]; BLOCKS * outputs * pooled.pixels()];
        let one = || {
            let bias = Some(&bias[..]);
            kernels::implicit_gemm_pooled(isa, &fused, &w, &x, bias, &mut out_fused, &mut masks);
        };
        let window = Window::new([2, 2]).stride(2);
        let three = || {
            kernels::implicit_gemm(
                isa,
                &forward,
                Operands {
                    weights: &w,
                    x: &x,
                    start: Start::Bias(&bias),
                    epilogue: Epilogue::None,
                },
                &mut y,
            );
            kernels::activate(isa, Activation::Relu, &y, &mut relu);
            kernels::max_pool(isa, &relu, &full, window, &mut out);
        };
        let flops = 2 * BLOCKS * LANES * convolution.multiply_adds();
        let works =
            vec![("fused", Box::new(one) as Box<dyn FnMut()>), ("separate", Box::new(three))];
        measure_all(criterion, isa, name, flops, works);
    }
}

fn measure_all<'a>(
    criterion: &mut Criterion,
    isa: Isa,
    name: &str,
    flops: usize,
    mut works: Vec<Work<'a>>,
) {
    let mut group = criterion.benchmark_group("pool");
    group.sample_size(10).warm_up_time(Duration::from_millis(100));
    group.measurement_time(Duration::from_millis(300));
    let mut selected = false;
    group.bench_function(name, |bencher| {
        selected = true;
        bencher.iter(|| works.iter_mut().for_each(|(_, work)| work()));
    });
    group.finish();
    if selected && measuring() {
        let contestants = works.into_iter().map(|(name, work)| Contestant::new(name, work));
        compare(Peak::of_a_core(isa), name, flops, contestants.collect());
    }
}

fn numbers(len: usize) -> Buffer {
    let mut buffer = Buffer::zeros(len);
    for (i, value) in buffer.iter_mut().enumerate() {
        *value = (i * i % 17) as f32 / 8.0 - 1.0;
    }
    buffer
}

criterion_group!(benches, pools);
criterion_main!(benches);
