//! The parts of an operation are the whole, to the bit: in any number and any order, one after another and
//! side by side. Outputs are NaN before, unless they are added to.

use crate::batches::winograd_layer;
use kernels::{
    Activation, BatchNorm, BatchNormGradients, Conv2dOptions, Convolution, Cores, Depthwise,
    DepthwiseTensors, Epilogue, ImageNorm, ImageNormGradients, Isa, LANES, Layout, NormSets,
    Operands, PaddingMode, PooledTensors, Precision, Start, Statistics, Store, Team, Window,
    Winograd,
};
use proptest::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

/// A team of so many, whose parts are done from the last to the first, or by threads.
struct Rigged {
    size: usize,
    threads: bool,
    most: AtomicUsize,
}

// SAFETY: each number is called once, and all calls have returned at the end.
unsafe impl Team for Rigged {
    fn size(&self) -> usize {
        self.size
    }

    fn most(&self) -> usize {
        self.size
    }

    fn run(&self, parts: usize, part: &(dyn Fn(usize) + Sync)) {
        self.most.fetch_max(parts, Relaxed);
        if self.threads {
            thread::scope(|scope| {
                for i in 0..parts {
                    scope.spawn(move || part(i));
                }
            });
        } else {
            (0..parts).rev().for_each(part);
        }
    }
}

fn numbers(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 - 0.5
    };
    (0..len).map(|_| next()).collect()
}

/// `f` alone and by teams: the same bits, and where there is work enough more parts than one.
pub fn same_by_teams(name: &str, f: &dyn Fn(Cores<'_>) -> Vec<f32>) -> Result<(), TestCaseError> {
    for isa in Isa::available() {
        let whole = f(isa.into());
        for (size, threads) in [(1, false), (2, true), (3, false), (7, true), (16, false)] {
            let team = Rigged { size, threads, most: AtomicUsize::new(0) };
            let parts = f(Cores::new(isa, &team));
            let cut = team.most.load(Relaxed);
            prop_assert!(cut <= size, "{} in {} parts by {}", name, cut, size);
            prop_assert!(cut > 1 || size == 1, "{} was not cut by {}", name, size);
            let differs = (0..whole.len()).find(|&i| whole[i].to_bits() != parts[i].to_bits());
            if let Some(i) = differs {
                let [whole, part] = [whole[i], parts[i]];
                prop_assert!(false, "{name} by {size} on {isa}: {i} is {part}, not {whole}");
            }
        }
    }
    Ok(())
}

/// Layers with work enough to be cut: blocks, and the convolution.
fn layers() -> impl Strategy<Value = (usize, Convolution)> {
    let shape = (1..=2usize, 3..=40usize, 30..=70usize, 1..=3usize, 1..=2usize, 0..=1usize);
    (shape, [9..=14usize, 9..=14usize]).prop_filter_map(
        "the window fits",
        |((blocks, inputs, outputs, kernel, stride, padding), size)| {
            let window = Window::new([kernel; 2]).stride(stride).padding(padding.min(kernel - 1));
            let layer = Convolution::new(inputs, size, outputs, window)?;
            (layer.taps() >= 40 && layer.multiply_adds() >= 50_000).then_some((blocks, layer))
        },
    )
}

/// Tensors of zeros in the unused vectors and lanes would hide nothing: all floats are random.
pub fn tensors((blocks, layer): &(usize, Convolution), seed: u32) -> [Vec<f32>; 3] {
    let x = numbers(layer.input().with_blocks(*blocks).len(), seed);
    let dy = numbers(layer.output().with_blocks(*blocks).len(), seed ^ 77);
    [x, dy, numbers(layer.weights(), seed ^ 99)]
}

/// What a product writes is a part of its output: the unused vectors stay what they were.
pub const POISON: f32 = f32::NAN;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn products(case in layers(), seed in any::<u32>(), add in any::<bool>()) {
        let [x, dy, w] = tensors(&case, seed);
        let (blocks, layer) = case;
        let bias = numbers(layer.output().channels(), seed ^ 5);
        let (start, poison) = if add { (Start::Output, 0.25) } else { (Start::Bias(&bias), POISON) };
        let epilogue = Epilogue::Relu;
        same_by_teams("forward", &|cores| {
            let mut y = vec![poison; layer.output().with_blocks(blocks).len()];
            let operands = Operands { weights: &w, x: &x, start, epilogue };
            kernels::implicit_gemm(cores, &layer.forward(), operands, &mut y);
            y
        })?;
        same_by_teams("data gradient", &|cores| {
            let mut weights = w.clone();
            if layer.window().taps() > 1 {
                weights = vec![POISON; layer.weights()];
                kernels::transpose_weights(cores, &layer, &w, &mut weights);
            }
            let mut dx = vec![POISON; layer.input().with_blocks(blocks).len()];
            let (start, epilogue) = (Start::Zero, Epilogue::None);
            let operands = Operands { weights: &weights, x: &dy, start, epilogue };
            kernels::implicit_gemm(cores, &layer.data_gradient(), operands, &mut dx);
            dx
        })?;
        same_by_teams("weight gradient", &|cores| {
            let mut dw = vec![0.5; layer.weights()];
            kernels::weight_gradient(cores, &layer.weight_gradient(), &x, &dy, &mut dw);
            dw
        })?;
        same_by_teams("transposed weight gradient", &|cores| {
            let (im2col, mut dw) = (layer.forward(), vec![0.5; layer.weights()]);
            let mut room = vec![POISON; im2col.transposed_gradient()];
            kernels::weight_gradient_transposed(cores, &im2col, [&x, &dy], &mut room, &mut dw);
            dw
        })?;
        same_by_teams("products in bfloat16", &|cores| in_bf16(cores, &layer, [&x, &dy, &w], start, poison))?;
        if let Some(im2col) = layer.forward_pooled() {
            same_by_teams("pooled forward", &|cores| {
                let pooled = im2col.target().with_blocks(blocks);
                let mut y = vec![POISON; pooled.len()];
                let mut masks = vec![[9; 4]; blocks * pooled.channels() * pooled.pixels()];
                let bias = Some(&bias[..]);
                kernels::implicit_gemm_pooled(cores, &im2col, &w, &x, bias, &mut y, &mut masks);
                let full = layer.output().with_blocks(blocks);
                let (mut dy, mut db) = (vec![POISON; full.len()], vec![0.5; full.channels()]);
                kernels::unpool(cores, &masks, &numbers(pooled.len(), seed), &pooled, &full, &mut dy, Some(&mut db));
                [y, masks.as_flattened().iter().map(|m| f32::from(*m)).collect(), dy, db].concat()
            })?;
        }
    }

    #[test]
    fn winograd(
        blocks in 1..=2usize,
        channels in [32..=70usize, 32..=70usize],
        size in [5..=15usize, 5..=15usize],
        padding in 0..=2usize,
        seed in any::<u32>(),
    ) {
        let Some(layer) = winograd_layer(channels, size, [padding; 2]) else { return Ok(()) };
        winograd_by_teams(blocks, layer, seed)?;
    }

    #[test]
    fn batch_norm(
        images in 1..=32usize, channels in 17..=40usize, size in [10..=12usize, 10..=13usize],
        seed in any::<u32>(),
    ) {
        let layout = Layout::new(images.div_ceil(LANES), channels, size);
        let values = |len: usize, salt: u32| numbers(len, seed ^ salt);
        let [x, dy, parameters] = [layout.len(), layout.len(), 2 * channels].map(|n| values(n, n as u32));
        let (gamma, beta) = parameters.split_at(channels);
        let (relu, silu) = (Some(Activation::Relu), Some(Activation::Silu));
        for (activation, pool) in [(relu, false), (silu, false), (relu, true)] {
            let op = BatchNorm { layout, images, gamma, beta, epsilon: 1e-5, activation };
            let pooled = op.pooled();
            same_by_teams("batch norm", &|cores| {
                let mut found = vec![POISON; 2 * channels];
                let (mean, variance) = found.split_at_mut(channels);
                let both = Statistics { mean, variance };
                let mut y = vec![POISON; if pool { pooled.len() } else { layout.len() }];
                let mut dx = vec![POISON; layout.len()];
                let mut sums = vec![0.5; 2 * channels];
                let (dgamma, dbeta) = sums.split_at_mut(channels);
                let to = BatchNormGradients { gamma: dgamma, beta: dbeta, x: &mut dx, store: Store::Overwrite };
                if pool {
                    kernels::batch_norm_pool(cores, &op, &x, both, &mut y);
                    let (mean, variance) = found.split_at(channels);
                    let tensors = PooledTensors { x: &x, y: &y, dy: &dy[..pooled.len()] };
                    let mut room = vec![POISON; op.pool_scratch() * cores.most()];
                    kernels::batch_norm_pool_backward(cores, &op, tensors, Statistics { mean, variance }, to, &mut room);
                } else {
                    kernels::batch_norm(cores, &op, &x, both, &mut y);
                    let (mean, variance) = found.split_at(channels);
                    let mut room = vec![POISON; op.scratch() * cores.most()];
                    let found = Statistics { mean, variance };
                    kernels::batch_norm_backward(cores, &op, [&x, &dy], found, to, &mut room);
                    kernels::channel_sums(cores, &dy, &layout, &mut sums[..channels]);
                }
                [y, found, dx, sums].concat()
            })?;
        }
    }

    #[test]
    fn each_image_by_itself(
        images in 1..=32usize, channels in 3..=9usize, size in [10..=12usize, 10..=13usize],
        pixels in any::<bool>(), seed in any::<u32>(),
    ) {
        let layout = Layout::new(images.div_ceil(LANES), 4 * channels, size);
        let parameters = layout.channels() * if pixels { 1 } else { layout.pixels() };
        let values = |len: usize, salt: u32| numbers(len, seed ^ salt);
        let (x, dy, both) = (values(layout.len(), 1), values(layout.len(), 2), values(2 * parameters, 3));
        let (gamma, beta) = both.split_at(parameters);
        let sets = if pixels { NormSets::Pixels } else { NormSets::Groups(channels) };
        let op = ImageNorm { layout, images, sets, gamma, beta, epsilon: 1e-5 };
        same_by_teams("norm of single images", &|cores| {
            let mut found = vec![POISON; op.statistics()];
            let [mut y, mut dx] = [0, 1].map(|_| vec![POISON; layout.len()]);
            let mut sums = vec![0.5; 2 * parameters];
            kernels::image_norm(cores, &op, &x, &mut found, &mut y);
            let (gamma, beta) = sums.split_at_mut(parameters);
            let to = ImageNormGradients { gamma, beta, x: Some((&mut dx, Store::Overwrite)) };
            kernels::image_norm_backward(cores, &op, [&x, &dy], &found, to);
            [y, dx, found, sums].concat()
        })?;
        let channels = layout.channels();
        same_by_teams("softmax", &|cores| {
            let mut all = [0, 1, 2, 3].map(|_| vec![POISON; layout.len()]);
            let [y, dx, z, dz] = &mut all;
            kernels::softmax(cores, &x, &layout, y);
            kernels::softmax_backward(cores, y, &dy, &layout, dx, Store::Overwrite);
            kernels::log_softmax(cores, &x, &layout, z);
            kernels::log_softmax_backward(cores, z, &dy, &layout, dz, Store::Overwrite);
            all.concat()
        })?;
        same_by_teams("PReLU", &|cores| {
            let [mut y, mut dx] = [0, 1].map(|_| vec![POISON; layout.len()]);
            let (mut dslopes, mut room) = (vec![0.5; channels], vec![POISON; channels]);
            kernels::prelu(cores, &x, &layout, &both[..channels], &mut y);
            let (to, dx_to) = ((&mut dslopes[..], &mut room[..]), Some((&mut dx[..], Store::Overwrite)));
            kernels::prelu_backward(cores, [&x, &dy], &layout, &both[..channels], to, dx_to);
            [y, dx, dslopes].concat()
        })?;
    }
}

/// The three products in bfloat16, packed by the team too: y, dx and dw.
fn in_bf16(
    cores: Cores<'_>,
    layer: &Convolution,
    [x, dy, w]: [&[f32]; 3],
    start: Start<'_>,
    poison: f32,
) -> Vec<f32> {
    let blocks = x.len() / layer.input().len();
    let [input, output] = [layer.input(), layer.output()].map(|l| l.with_blocks(blocks));
    let packed = |layout: Layout, x: &[f32]| {
        let mut pairs = vec![POISON; layout.pairs().len()];
        kernels::pack_pairs(cores, layout, x, &mut pairs);
        pairs
    };
    let (mut y, mut dx, mut dw) =
        (vec![poison; output.len()], vec![POISON; input.len()], vec![0.5; w.len()]);
    let im2col = layer.forward_bf16();
    let mut weights = vec![POISON; im2col.weights()];
    kernels::pack_weights(cores, layer, w, &mut weights);
    let x_pairs = packed(input, x);
    let operands = Operands { weights: &weights, x: &x_pairs, start, epilogue: Epilogue::Relu };
    kernels::implicit_gemm(cores, &im2col, operands, &mut y);
    let im2col = layer.data_gradient_bf16();
    let mut weights = vec![POISON; im2col.weights()];
    kernels::pack_weights_transposed(cores, layer, w, &mut weights);
    let (dy_pairs, start, epilogue) = (packed(output, dy), Start::Zero, Epilogue::None);
    let operands = Operands { weights: &weights, x: &dy_pairs, start, epilogue };
    kernels::implicit_gemm(cores, &im2col, operands, &mut dx);
    let im2col = layer.weight_gradient_bf16();
    let (mut pairs, mut room) =
        (vec![POISON; x.len() / 2], vec![POISON; im2col.transposed_gradient()]);
    kernels::pack_neighbours(cores, x, &mut pairs);
    kernels::weight_gradient_transposed(cores, &im2col, [&pairs, dy], &mut room, &mut dw);
    [y, dx, dw].concat()
}

/// Channels in groups: fewer than the team has threads, and more; and with kernels of their own.
#[test]
fn groups() {
    let reflect = PaddingMode::Reflect;
    for (channels, outputs, groups) in [(24, 24, 3), (64, 32, 16), (24, 48, 24)] {
        for (stride, mode) in [(1, PaddingMode::Zeros), (2, PaddingMode::Zeros), (1, reflect)] {
            let window = Window::new([3, 3]).padding(1).stride(stride);
            let options = Conv2dOptions::from(window).groups(groups).padding_mode(mode);
            let layer = Convolution::new(channels, [19, 26], outputs, options).unwrap();
            groups_by_teams(2, layer).unwrap();
        }
    }
}

fn groups_by_teams(blocks: usize, layer: Convolution) -> Result<(), TestCaseError> {
    let [x, dy, w] = tensors(&(blocks, layer), 7);
    let bias = numbers(layer.output().channels(), 5);
    let lengths = [layer.input(), layer.output()].map(|l| l.with_blocks(blocks).len());
    let (epilogue, start) = (Epilogue::Relu, Start::Bias(&bias));
    same_by_teams("groups", &|cores| {
        let mut y = vec![POISON; lengths[1]];
        let operands = Operands { weights: &w, x: &x, start, epilogue };
        kernels::implicit_gemm(cores, &layer.forward(), operands, &mut y);
        let mut weights = vec![POISON; layer.weights()];
        kernels::transpose_weights(cores, &layer, &w, &mut weights);
        let mut dx = vec![0.25; lengths[0]];
        let operands = Operands { weights: &weights, x: &dy, start: Start::Output, epilogue };
        kernels::implicit_gemm(cores, &layer.data_gradient(), operands, &mut dx);
        let mut dw = vec![0.5; layer.weights()];
        kernels::weight_gradient(cores, &layer.weight_gradient(), &x, &dy, &mut dw);
        [y, dx, dw].concat()
    })?;
    let Some(plan) = Depthwise::new(&layer) else { return Ok(()) };
    same_by_teams("depthwise", &|cores| {
        let mut y = vec![POISON; lengths[1]];
        let operands = Operands { weights: &w, x: &x, start, epilogue };
        kernels::depthwise(cores, &plan, operands, &mut y);
        let (mut dx, mut dw) = (vec![POISON; lengths[0]], vec![0.5; layer.weights()]);
        let tensors = DepthwiseTensors { weights: &w, x: &x, dy: &dy };
        let to = Some((&mut dx[..], Store::Overwrite));
        kernels::depthwise_gradients(cores, &plan, tensors, &mut dw, to);
        [y, dx, dw].concat()
    })
}

fn winograd_by_teams(blocks: usize, layer: Convolution, seed: u32) -> Result<(), TestCaseError> {
    let [x, dy, w] = tensors(&(blocks, layer), seed);
    for precision in [Precision::F32, Precision::Bf16] {
        winograd_in(precision, blocks, layer, [&x, &dy, &w])?;
    }
    Ok(())
}

fn winograd_in(
    precision: Precision,
    blocks: usize,
    layer: Convolution,
    [x, dy, w]: [&[f32]; 3],
) -> Result<(), TestCaseError> {
    let plan = Winograd::with_precision(&layer, precision).expect("a layer for this method");
    let (start, epilogue) = (Start::Zero, Epilogue::None);
    same_by_teams("Winograd's products", &|cores| {
        let mut weights = vec![POISON; plan.weights()];
        kernels::winograd_weights(cores, &plan, w, &mut weights);
        let mut room = vec![POISON; plan.scratch_of(cores.most())];
        let mut y = vec![POISON; layer.output().with_blocks(blocks).len()];
        let operands = Operands { weights: &weights, x, start, epilogue };
        kernels::winograd(cores, &plan, operands, &mut room, &mut y);
        let mut dx = vec![POISON; layer.input().with_blocks(blocks).len()];
        let operands = Operands { weights: &weights, x: dy, start, epilogue };
        kernels::winograd_data_gradient(cores, &plan, operands, &mut room, &mut dx);
        let mut dw = vec![0.5; layer.weights()];
        kernels::winograd_weight_gradient(cores, &plan, x, dy, &mut room, &mut dw);
        [y, dx, dw].concat()
    })
}

/// A plane so wide that a row of tiles is cut, and not into equal pieces.
#[test]
fn wide_planes() {
    let layer = Convolution::new(64, [3, 157], 64, Window::new([3, 3]).padding(1)).unwrap();
    winograd_by_teams(1, layer, 3).unwrap();
    // The pieces give what im2col gives, but for rounding.
    let [x, _, w] = tensors(&(1, layer), 3);
    let plan = Winograd::new(&layer).unwrap();
    let isa = Isa::detect();
    let mut weights = vec![0.0; plan.weights()];
    kernels::winograd_weights(isa, &plan, &w, &mut weights);
    let [mut y, mut expected] = [0, 1].map(|_| vec![0.0; layer.output().len()]);
    let operands = Operands { weights: &w, x: &x, start: Start::Zero, epilogue: Epilogue::None };
    kernels::implicit_gemm(isa, &layer.forward(), operands, &mut expected);
    let operands = Operands { weights: &weights, ..operands };
    kernels::winograd(isa, &plan, operands, &mut vec![0.0; plan.scratch()], &mut y);
    for (y, expected) in y.iter().zip(&expected) {
        assert!((y - expected).abs() < 1e-3, "{y}, not {expected}");
    }
}
