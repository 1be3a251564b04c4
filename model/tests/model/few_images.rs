//! One image or a few, with channels in lanes: the bits of the tape, for random networks.

use crate::files::SMALL;
use crate::interpreter::Interpreter;
use crate::networks::{evaluate, weights};
use autograd::Buffer;
use kernels::{Activation, Conv2dOptions, Cores, Isa, LANES, Layout, PaddingMode, Team, Window};
use model::*;
use proptest::prelude::*;
use reference::{norm, uniform, widen};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A team of so many, whose parts are done from the last to the first, or by threads.
struct Rigged {
    size: usize,
    threads: bool,
    /// The most parts of an operation.
    most: AtomicUsize,
}

impl Rigged {
    fn new(size: usize, threads: bool) -> Rigged {
        Rigged { size, threads, most: AtomicUsize::new(0) }
    }
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
            std::thread::scope(|scope| {
                for i in 0..parts {
                    scope.spawn(move || part(i));
                }
            });
        } else {
            (0..parts).rev().for_each(part);
        }
    }
}

/// Writes row-major images where a layout wants them; what belongs to no value stays.
fn load(x: &[f32], channels: usize, layout: &Layout, to: &mut [f32]) {
    let (images, [_, columns]) = (layout.channels(), layout.size());
    for (i, value) in x.iter().enumerate() {
        let (plane, pixel) = (i / layout.pixels(), i % layout.pixels());
        let (image, channel) = (plane / channels, plane % channels);
        assert!(image < images);
        let vector = layout.offset(image, [pixel / columns, pixel % columns]);
        to[channel / LANES * layout.block_len() + vector + channel % LANES] = *value;
    }
}

/// The logits of some images, in room that is full of NaN.
fn few(few: &FewImages, cores: Cores<'_>, network: &Network, x: &[f32], images: usize) -> Vec<f32> {
    let channels = network.input()[0];
    let mut room = Room::default();
    let mut logits = vec![f32::NAN; images * network.classes()];
    few.logits(cores, &mut room, images, |layout, to| load(x, channels, layout, to), &mut logits);
    room.poison();
    logits.fill(f32::NAN);
    few.logits(cores, &mut room, images, |layout, to| load(x, channels, layout, to), &mut logits);
    logits
}

fn assert_same_bits(what: &str, got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (a, b)) in got.iter().zip(expected).enumerate() {
        let same = a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        assert!(same, "{what}: logit {i}: {a:e} and {b:e}");
    }
}

/// On every path, alone and beside others, by one thread and several.
pub fn check(network: &Network, weights: &Buffer, x: &[f32], images: usize) {
    let image = x.len() / images;
    for isa in Isa::available() {
        let what = format!("{isa}, {:?}", network.layers());
        let expected = evaluate(isa, network, weights, x, images);
        let plan = FewImages::new(isa, network, weights)
            .expect("statistics of images")
            .expect("kinds that are known");
        let all = few(&plan, isa.into(), network, x, images);
        assert_same_bits(&what, &all, &expected);
        for (size, threads) in [(3, true), (7, false)] {
            let team = Rigged::new(size, threads);
            let by_team = few(&plan, Cores::new(isa, &team), network, x, images);
            assert_same_bits(&what, &by_team, &expected);
        }
        let last = few(&plan, isa.into(), network, &x[x.len() - image..], 1);
        assert_same_bits(&what, &last, &expected[expected.len() - last.len()..]);
    }
}

fn windows(most: usize) -> impl Strategy<Value = Window> {
    let axes = |range: std::ops::RangeInclusive<usize>| [range.clone(), range];
    (axes(1..=most), axes(1..=2), axes(0..=2), axes(1..=2)).prop_map(
        |(kernel, stride, padding, dilation)| Window { kernel, stride, padding, dilation },
    )
}

fn pools() -> impl Strategy<Value = Window> {
    let halving = Just(Window::new([2, 2]).stride(2));
    let any = windows(3).prop_map(|window| Window {
        padding: [0, 1].map(|axis| window.padding[axis].min(window.kernel[axis] / 2)),
        ..window
    });
    prop_oneof![2 => halving, 1 => any]
}

fn max(window: Window) -> MaxPool2d {
    MaxPool2d { window, ceil: false }
}

fn channels() -> impl Strategy<Value = usize> {
    prop_oneof![1..=20usize, prop::sample::select(&[32, 33, 48, 64][..])]
}

/// One layer, or some that are computed in one pass.
fn pieces() -> impl Strategy<Value = Vec<Layer>> {
    let groups = prop_oneof![3 => Just(1), 1 => 2..=4usize, 1 => Just(16)];
    let conv = (channels(), windows(5), [0..=2usize, 0..=2], groups, any::<[bool; 2]>()).prop_map(
        |(outputs, window, after, groups, [bias, mirrored])| {
            let mode = if mirrored { PaddingMode::Reflect } else { PaddingMode::Zeros };
            let options = Conv2dOptions::from(window).padding(window.padding, after);
            let options = options.padding_mode(mode).groups(groups);
            let outputs = outputs.next_multiple_of(groups);
            // Before it the channels of one group or more.
            let first = conv2d(groups * (1 + outputs % 3), 1);
            let conv = Conv2d { outputs, options, same: false, bias };
            if groups > 1 { layers![first, conv] } else { layers![conv] }
        },
    );
    let same = channels().prop_map(|outputs| Layer::from(conv2d(outputs, 3).padding(1)));
    let after = prop_oneof![
        Just(vec![]),
        Just(vec![relu()]),
        Just(layers![batch_norm2d()]),
        Just(layers![batch_norm2d(), relu()]),
        Just(layers![batch_norm2d().affine(false).eps(1e-3), relu()]),
        pools().prop_map(|pool| layers![relu(), max(pool)]),
        pools().prop_map(|pool| layers![batch_norm2d(), relu(), max(pool)]),
    ];
    let block = |layers: Vec<Layer>| layers;
    // No convolution is there to take the batch norm.
    let activated_norm = prop::sample::select(vec![silu(), relu6(), hardswish()])
        .prop_map(|f| layers![max_pool2d(1), batch_norm2d(), f]);
    let activations = prop_oneof![
        Just(Kind::Activation(Activation::Relu)),
        Just(Kind::Activation(Activation::LeakyRelu(0.1))),
        Just(Kind::Activation(Activation::Gelu)),
        Just(Kind::Activation(Activation::Silu)),
        Just(Kind::Activation(Activation::Relu6)),
        Just(Kind::Activation(Activation::HardSwish)),
        Just(Kind::BatchNorm2d(batch_norm2d())),
        Just(Kind::Prelu(prelu())),
        Just(dropout(0.5).kind),
        Just(stochastic_depth(0.5).kind),
        pools().prop_map(|window| max(window).into()),
        (pools(), any::<[bool; 2]>()).prop_map(|(window, [ceil, count_padding])| {
            AvgPool2d { window, ceil, count_padding }.into()
        }),
        pools().prop_map(|window| MaxPool2d { window, ceil: true }.into()),
        [1..=6usize, 1..=6usize].prop_map(|size| adaptive_max_pool2d(size).into()),
        [1..=6usize, 1..=6usize].prop_map(|size| adaptive_avg_pool2d(size).into()),
    ];
    prop_oneof![
        4 => (prop_oneof![conv, same.prop_map(|same| vec![same])], after)
            .prop_map(move |(conv, after)| block([conv, after].concat())),
        1 => activations.prop_map(|kind| vec![Layer::from(kind)]),
        1 => activated_norm,
    ]
}

/// A residual block whose body keeps the shape, with or without a convolution beside it.
fn blocks() -> impl Strategy<Value = Vec<Layer>> {
    (channels(), any::<bool>(), any::<bool>()).prop_map(|(outputs, projected, normalised)| {
        let mut body = layers![conv2d(outputs, 3).padding(1).no_bias(), batch_norm2d(), relu()];
        body.extend(layers![conv2d(outputs, 3).padding(1)]);
        if normalised {
            body.insert(0, batch_norm2d().into());
            body.push(batch_norm2d().into());
        }
        if projected {
            return layers![residual(body, layers![conv2d(outputs, 1).no_bias(), batch_norm2d()])];
        }
        layers![conv2d(outputs, 1), residual(body, vec![])]
    })
}

fn ends() -> impl Strategy<Value = Vec<Layer>> {
    let hidden = (1..=40usize).prop_map(|n| layers![flatten(), linear(n), relu(), linear(5)]);
    prop_oneof![
        hidden,
        Just(layers![flatten(), linear(17).no_bias()]),
        Just(layers![global_avg_pool2d(), flatten(), linear(3)]),
        Just(layers![flatten(), batch_norm2d(), relu(), dropout(0.5), linear(4)]),
        Just(layers![global_avg_pool2d()]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn random_networks_have_the_bits_of_the_tape(
        input in (prop_oneof![1..=4usize, Just(35)], 1..=14usize, 1..=14usize),
        body in prop::collection::vec(prop_oneof![3 => pieces(), 1 => blocks()], 0..=4),
        end in ends(),
        (images, seed) in (1..=5usize, any::<u32>()),
    ) {
        let layers = [body.concat(), end].concat();
        let input = [input.0, input.1, input.2];
        let Ok(network) = Network::new(input, &layers) else { return Ok(()) };
        if network.multiply_adds() > 3_000_000 {
            return Ok(());
        }
        let weights = weights(&network, u64::from(seed));
        let x = uniform::<f32>(images * input.iter().product::<usize>(), u64::from(seed) + 1);
        check(&network, &weights, &x, images);
    }
}

#[test]
fn presets_have_the_bits_of_the_tape() {
    for name in SMALL {
        let network = Network::new([1, 28, 28], &preset(name, 10).unwrap()).unwrap();
        let weights = weights(&network, 3);
        let images = if name == "vgg" { 2 } else { 3 };
        check(&network, &weights, &uniform(images * 784, 4), images);
    }
}

/// Operations of many multiply-adds are handed out in parts.
#[test]
fn work_is_cut_into_parts() {
    let network = Network::new([1, 28, 28], &preset("resnet", 10).unwrap()).unwrap();
    let weights = weights(&network, 3);
    let plan = FewImages::new(Isa::detect(), &network, &weights).unwrap().unwrap();
    let team = Rigged::new(7, false);
    few(&plan, Cores::new(Isa::detect(), &team), &network, &uniform(784, 4), 1);
    assert!((2..=64).contains(&team.most.into_inner()));
}

/// What is not finite goes where it goes on a tape; beyond any sum, the definition in `f64`.
#[test]
fn values_are_those_of_the_definition() {
    let layers = layers![
        conv2d(20, 3).padding(1),
        batch_norm2d(),
        relu(),
        max_pool2d(2),
        conv2d(33, 3),
        relu(),
        flatten(),
        linear(4)
    ];
    let network = Network::new([3, 12, 10], &layers).unwrap();
    let weights = weights(&network, 9);
    let mut x = uniform::<f32>(2 * 360, 10);
    let params = widen(&weights);
    let interpreter = Interpreter { network: &network, layers: &layers, params: &params };
    let exact = interpreter.evaluate(&widen(&x), 2);
    for isa in Isa::available() {
        let plan = FewImages::new(isa, &network, &weights).unwrap().unwrap();
        let logits = few(&plan, isa.into(), &network, &x, 2);
        let error =
            logits.iter().zip(&exact).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum::<f64>();
        assert!(error.sqrt() < 1e-5 * norm(&exact), "{isa}: off by {error:e}");
    }
    (x[17], x[400]) = (f32::NAN, f32::INFINITY);
    check(&network, &weights, &x, 2);
}

/// What sums over the channels of an image is left to the tape.
#[test]
fn sums_over_channels_are_for_a_tape() {
    for layer in [
        group_norm(2).into(),
        layer_norm().into(),
        instance_norm().into(),
        softmax(),
        prelu().per_channel().into(),
    ] {
        let layers = layers![conv2d(4, 1), layer, flatten(), linear(3)];
        let network = Network::new([3, 5, 5], &layers).unwrap();
        let plan = FewImages::new(Isa::detect(), &network, &weights(&network, 3)).unwrap();
        assert!(plan.is_none(), "{layers:?}");
    }
}

/// Room that was left by more images, or by another network, is room.
#[test]
fn room_is_for_any_number_of_images() {
    let network = Network::new([1, 28, 28], &preset("cnn-bn", 10).unwrap()).unwrap();
    let weights = weights(&network, 3);
    let x = uniform::<f32>(16 * 784, 4);
    let isa = Isa::detect();
    let expected = evaluate(isa, &network, &weights, &x, 16);
    let plan = FewImages::new(isa, &network, &weights).unwrap().unwrap();
    let mut room = Room::default();
    for images in [3, 16, 1, 0, 7] {
        let mut logits = vec![f32::NAN; images * 10];
        let x = &x[..images * 784];
        plan.logits(isa, &mut room, images, |layout, to| load(x, 1, layout, to), &mut logits);
        assert_same_bits("images", &logits, &expected[..images * 10]);
    }
}

/// One image of a preset, and four, are few; sixteen fill the lanes of a tape.
#[test]
fn sixteen_images_are_not_few() {
    for name in ["lenet", "lenet-li", "cnn-bn", "vgg", "resnet"] {
        let network = Network::new([1, 28, 28], &preset(name, 10).unwrap()).unwrap();
        let plan = FewImages::new(Isa::detect(), &network, &weights(&network, 3)).unwrap().unwrap();
        let suits = [1, 2, 4, 16].map(|images| plan.suits(images));
        assert_eq!(suits, [true, true, true, false], "{name}");
        let eight = !name.starts_with("lenet");
        assert_eq!(plan.suits(8), eight, "{name}");
    }
}
