//! Safe code cannot make a kernel touch what it was not given: sizes that wrap, and views made for
//! another product, end in a panic that says what is wrong, on every path.

use crate::common::operands;
use kernels::{
    Activation, BatchNorm, BatchNormGradients, Convolution, Gemm, Im2col, Isa, LANES, Layout,
    Matrix, MatrixMut, PooledTensors, Statistics, Store, Window, Winograd, avg_pool,
    batch_norm_evaluate, batch_norm_pool_backward, batch_norm_pool_evaluate, channel_sums, flatten,
    gemm, global_avg_pool, global_avg_pool_backward, implicit_gemm, implicit_gemm_pooled,
    linear_weight_gradient, load_images, max_pool, softmax, sum, transpose_weights, unflatten,
    unpool, weight_gradient, weight_gradient_transposed,
};
use reference::uniform;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What the panic of `call` says.
fn refusal<T>(call: impl FnOnce() -> T) -> String {
    let Err(panic) = catch_unwind(AssertUnwindSafe(call)) else { return "nothing".to_string() };
    match panic.downcast::<String>() {
        Ok(said) => *said,
        Err(panic) => panic.downcast_ref::<&str>().map_or(String::new(), |said| said.to_string()),
    }
}

#[track_caller]
fn assert_refused<T>(said: &str, call: impl FnOnce() -> T) {
    let refusal = refusal(call);
    assert!(refusal.contains(said), "expected “{said}”: {refusal}");
}

/// 16 · `outputs` is 16 modulo 2⁶⁴: were it not for the check, an output of one vector would do.
const WRAPPING: usize = (1 << 60) + 1;

#[test]
fn a_linear_layer_that_wraps_is_refused() {
    for isa in Isa::available() {
        assert_refused("1 blocks of 1152921504606846977 channels of 1 × 1 pixels", || {
            let im2col = Convolution::linear(16, WRAPPING).forward();
            let mut y = vec![0.0; 16];
            implicit_gemm(isa, &im2col, operands(&[1.0; 16], &[1.0; 256]), &mut y);
        });
        assert_refused("1 blocks of 1152921504606846977 channels of 1 × 1 pixels", || {
            let im2col = Convolution::linear(16, WRAPPING).weight_gradient();
            weight_gradient(isa, &im2col, &[1.0; 256], &[1.0; 16], &mut [0.0; 16]);
        });
        assert_refused("weights of a linear weight gradient", || {
            linear_weight_gradient(isa, [1 << 60, 16], &[1.0; 256], &[], &mut []);
        });
    }
}

#[test]
fn a_pooled_product_that_wraps_or_is_larger_than_its_window_gives_is_refused() {
    for isa in Isa::available() {
        let outputs = (1 << 62) + 1;
        assert_refused("more floats than a slice can hold", || {
            let layer = Convolution::new(16, [4, 4], outputs, Window::new([1, 1])).unwrap();
            let im2col = layer.forward_pooled().unwrap();
            let (mut y, mut masks) = (vec![0.0; 64], vec![[0; 4]; 4]);
            implicit_gemm_pooled(isa, &im2col, &[1.0; 16], &[], None, &mut y, &mut masks);
        });
        // The output is that of the window: there is no other way to make one.
        let layer = Convolution::new(1, [2, 2], 1, Window::new([1, 1])).unwrap();
        let im2col = layer.forward_pooled().unwrap();
        assert_eq!(im2col.target(), Layout::new(1, 1, [1, 1]));
        let (x, mut y) = (vec![1.0; layer.input().len()], vec![0.0; 200 * 200 * LANES]);
        assert_refused("output of a pooled implicit GEMM", || {
            let masks = &mut [[0; 4]; 1];
            implicit_gemm_pooled(isa, &im2col, &[1.0], &x, None, &mut y, masks);
        });
    }
}

/// A 3×3 window over 2×2 pixels has as many columns in its nine regions as four to a pixel.
#[test]
fn views_of_other_products_are_refused() {
    let layer = Convolution::new(4, [2, 2], 3, Window::new([3, 3]).padding(1)).unwrap();
    let (x, w) = (vec![1.0; layer.input().len()], vec![1.0; layer.weights()]);
    let dy: Vec<f32> = uniform(layer.output().len(), 1);
    let no_padding = Convolution::new(4, [4, 4], 3, Window::new([3, 3])).unwrap();
    let pooled = no_padding.forward_pooled().unwrap();
    for isa in Isa::available() {
        let forward = |im2col: &Im2col| {
            let mut y = vec![0.0; im2col.target().len()];
            implicit_gemm(isa, im2col, operands(&w, &x), &mut y)
        };
        assert_refused("im2col of an implicit GEMM", || forward(&layer.weight_gradient()));
        assert_refused("im2col of a pooled implicit GEMM", || {
            let (im2col, mut y) = (layer.weight_gradient(), dy.clone());
            implicit_gemm_pooled(isa, &im2col, &w, &x, None, &mut y, &mut [[0; 4]; 12])
        });
        assert_refused("im2col of an implicit GEMM", || {
            let x = vec![1.0; no_padding.input().len()];
            let mut y = vec![0.0; pooled.target().len()];
            implicit_gemm(isa, &pooled, operands(&w, &x), &mut y)
        });
        assert_refused("im2col of a weight gradient", || {
            weight_gradient(isa, &layer.forward(), &x, &dy, &mut w.clone())
        });
        assert_refused("im2col of a transposed weight gradient", || {
            let im2col = layer.weight_gradient();
            let mut scratch = vec![0.0; im2col.transposed_gradient()];
            weight_gradient_transposed(isa, &im2col, [&x, &dy], &mut scratch, &mut w.clone())
        });
        assert_refused("input of an implicit GEMM", || {
            implicit_gemm(isa, &Im2col::default(), operands(&[], &x), &mut [])
        });
    }
}

/// Sizes at the ends of their range either have a convolution, whose products then run, or a
/// refusal.
#[test]
fn extreme_shapes_run_or_are_refused() {
    let sizes = [0, 1, 3, 1 << 31, 1 << 32, 1 << 60, usize::MAX / 2, usize::MAX];
    let mut ran = 0;
    for channels in sizes {
        for outputs in sizes {
            for side in [0, 1, 3, 1 << 40, usize::MAX] {
                for kernel in [0, 1, 2, usize::MAX] {
                    for padding in [0, 1, 1 << 62, usize::MAX] {
                        for stride in [0, 1, usize::MAX] {
                            let window = Window::new([kernel; 2]).padding(padding).stride(stride);
                            let shape = || Convolution::new(channels, [side; 2], outputs, window);
                            if let Ok(Some(layer)) = catch_unwind(shape) {
                                run_every_product(&layer);
                                ran += 1;
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(ran > 50, "{ran} shapes ran");
}

/// Runs the products of a layer that is small enough; those of a layer without inputs are refused.
fn run_every_product(layer: &Convolution) {
    let (input, output) = (layer.input(), layer.output());
    if input.block_len().max(output.block_len()).max(layer.weights()) > 1 << 16 {
        return;
    }
    assert!(Winograd::new(layer).is_none());
    let zeros = |len: usize| vec![0.0; len];
    let (x, mut y) = (zeros(input.len()), zeros(output.len()));
    let (w, mut wt) = (zeros(layer.weights()), zeros(layer.weights()));
    for isa in Isa::available() {
        transpose_weights(isa, layer, &w, &mut wt);
        let transposed = if layer.window().taps() == 1 { &w } else { &wt };
        let products: [&mut dyn FnMut(); 4] = [
            &mut || implicit_gemm(isa, &layer.forward(), operands(&w, &x), &mut y.clone()),
            &mut || {
                let im2col = layer.data_gradient();
                implicit_gemm(isa, &im2col, operands(transposed, &y), &mut x.clone());
            },
            &mut || weight_gradient(isa, &layer.weight_gradient(), &x, &y, &mut w.clone()),
            &mut || {
                let im2col = layer.forward();
                let scratch = &mut zeros(im2col.transposed_gradient());
                weight_gradient_transposed(isa, &im2col, [&x, &y], scratch, &mut w.clone());
            },
        ];
        for product in products {
            let said = refusal(product);
            let refused = (x.is_empty() || y.is_empty()) && said.starts_with("input of");
            assert!(said == "nothing" || refused, "{layer:?}: {said}");
        }
        y.fill(0.0);
    }
}

#[test]
fn extreme_windows_of_a_pool_are_refused() {
    let layout = Layout::new(1, 1, [3, 3]);
    for isa in Isa::available() {
        let pool = |window: Window, y: &mut [f32]| {
            max_pool(isa, &[0.0; 9 * LANES], &layout, window, y);
        };
        assert_refused("does not fit", || pool(Window::new([usize::MAX, 1]), &mut []));
        assert_refused("does not fit", || pool(Window::new([1, 1]).stride(0), &mut []));
        assert_refused("does not fit", || pool(Window::new([2, 2]).padding(usize::MAX), &mut []));
        let wide = Window::new([1, 1]).padding(1 << 32);
        assert_refused("more floats than a slice can hold", || pool(wide, &mut []));
    }
}

#[test]
fn extreme_strides_of_a_matrix_run_or_are_refused() {
    let huge = [0, 1, 1 << 62, usize::MAX];
    for isa in Isa::available() {
        for (m, n, k) in [(1, 1, 1), (1, 16, 1), (0, 5, 3), (2, 2, 2), (usize::MAX, 1, 1)] {
            for [a_stride, b_stride, c_stride] in
                huge.into_iter().flat_map(|a| huge.map(|b| [a, b, 1 << 62]))
            {
                let (a, b, mut c) = ([1.0; 16], [1.0; 16], [1.0; 16]);
                for transposed in [false, true] {
                    let of = if transposed { Matrix::transposed } else { Matrix::new };
                    let run = || {
                        let c = MatrixMut::new(&mut c, c_stride);
                        gemm(isa, Gemm::new(m, n, k), of(&a, a_stride), of(&b, b_stride), c);
                    };
                    let said = refusal(run);
                    let lengths = ["A: ", "B: ", "C: "];
                    let refused = lengths.iter().any(|which| said.starts_with(which));
                    assert!(said == "nothing" || refused, "{said}");
                }
            }
        }
    }
    // No float is anywhere, so there is nothing to add to.
    kernels::scale(Isa::detect(), &[], 1.0, &mut [], Store::Accumulate);
}

/// Layouts without images, channels or pixels are layouts: kernels do nothing, or say why not.
#[test]
fn empty_layouts_run_or_are_refused() {
    let sizes = [[0, 0], [0, 3], [3, 0], [1, 1], [1, 3], [2, 2], [5, 1]];
    for isa in Isa::available() {
        for (blocks, channels) in [(0, 0), (0, 2), (1, 0), (1, 1), (2, 17)] {
            for size in sizes {
                run_every_kernel(isa, Layout::new(blocks, channels, size));
            }
        }
    }
}

/// Runs the kernels that take a layout on tensors of it.
fn run_every_kernel(isa: Isa, layout: Layout) {
    let zeros = |len: usize| vec![0.0; len];
    let (x, window) = (zeros(layout.len()), Window::new([2, 2]).stride(2));
    let channels = zeros(layout.channels());
    let features = Layout::features(layout.blocks(), layout.channels() * layout.pixels());
    let means = Layout::features(layout.blocks(), layout.channels());
    let half = layout.with_size(layout.size().map(|n| n / 2));
    let masks = vec![[0; 4]; half.blocks() * half.channels() * half.pixels()];
    let images = layout.blocks() * LANES;
    let byte_image = vec![0; layout.channels() * layout.pixels()];
    let (one, store) = (layout.with_blocks(1), Store::Accumulate);
    let op = |activation| {
        let (gamma, beta) = (&channels[..], &channels[..]);
        BatchNorm { layout, images, gamma, beta, epsilon: 1.0, activation }
    };
    let statistics = Statistics { mean: &channels[..], variance: &channels[..] };
    let mut found = [channels.clone(), channels.clone()];
    let [gamma, beta] = &mut found;
    let mut dx = x.clone();
    let gradients = BatchNormGradients { gamma, beta, x: &mut dx, store };
    let tensors = PooledTensors { x: &x, y: &zeros(half.len()), dy: &zeros(half.len()) };
    let mut scratch = zeros(op(Some(Activation::Relu)).pool_scratch());
    type Call<'a> = Box<dyn FnOnce() + 'a>;
    let kernels: [(&str, Call<'_>); 14] = [
        ("sum", Box::new(|| assert_eq!(sum(isa, &x, &layout, images), 0.0))),
        ("channel sums", Box::new(|| channel_sums(isa, &x, &layout, &mut channels.clone()))),
        ("flatten", Box::new(|| flatten(isa, &x, &layout, &mut zeros(features.len())))),
        (
            "unflatten",
            Box::new(|| unflatten(isa, &zeros(features.len()), &layout, &mut x.clone(), store)),
        ),
        ("global average", Box::new(|| global_avg_pool(isa, &x, &layout, &mut zeros(means.len())))),
        (
            "its backward",
            Box::new(|| {
                global_avg_pool_backward(isa, &zeros(means.len()), &layout, &mut x.clone(), store)
            }),
        ),
        ("max-pool", Box::new(|| max_pool(isa, &x, &layout, window, &mut zeros(half.len())))),
        ("average", Box::new(|| avg_pool(isa, &x, &layout, window, &mut zeros(half.len())))),
        (
            "unpool",
            Box::new(|| {
                let db = &mut channels.clone();
                unpool(isa, &masks, &zeros(half.len()), &half, &layout, &mut x.clone(), Some(db))
            }),
        ),
        (
            "batch norm",
            Box::new(|| {
                let y = &mut x.clone();
                batch_norm_evaluate(isa, &op(None), &x, statistics, y);
            }),
        ),
        (
            "batch norm and pool",
            Box::new(|| {
                let y = &mut zeros(half.len());
                batch_norm_pool_evaluate(isa, &op(Some(Activation::Relu)), &x, statistics, y);
            }),
        ),
        (
            "its backward",
            Box::new(|| {
                let op = op(Some(Activation::Relu));
                batch_norm_pool_backward(isa, &op, tensors, statistics, gradients, &mut scratch);
            }),
        ),
        ("softmax", Box::new(|| softmax(isa, &x, &layout, &mut x.clone()))),
        (
            "images",
            Box::new(|| {
                let images = [&byte_image[..]; 3];
                load_images(isa, &images, &one, &channels, &channels, &mut zeros(one.len()));
            }),
        ),
    ];
    for (name, kernel) in kernels {
        let said = refusal(kernel);
        let reasons = ["nothing", "does not fit", "the mean of no images", "classes are features"];
        let known = reasons.iter().any(|reason| said.contains(reason));
        assert!(known, "{isa}, {name} of {layout}: {said}");
    }
}
