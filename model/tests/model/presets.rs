//! What the presets are, in numbers that can be checked by hand.

use kernels::{Conv2dOptions, PaddingMode};
use model::*;
use proptest::prelude::*;

fn network(name: &str, input: [usize; 3], classes: usize) -> Result<Network, ShapeError> {
    Network::new(input, &preset(name, classes).unwrap())
}

#[test]
fn sizes_on_fashion_mnist() {
    let sizes = |name: &str| {
        let network = network(name, [1, 28, 28], 10).unwrap();
        (network.parameter_count(), network.multiply_adds(), network.training_multiply_adds())
    };
    // conv1 24·24·6·25, conv2 8·8·16·6·25, then the linear layers; weights and biases.
    let lenet = [24 * 24 * 6 * 25, 8 * 8 * 16 * 6 * 25, 256 * 120, 120 * 84, 84 * 10];
    let all: usize = lenet.iter().sum();
    assert_eq!(sizes("lenet"), (44_426, all, 3 * all - lenet[0]));
    assert_eq!(2 * sizes("lenet").2, 1_517_040);
    let li = [24 * 24 * 6 * 25, 8 * 8 * 12 * 6 * 25, 192 * 120, 120 * 60, 60 * 10];
    let parameters = 6 * 26 + 12 * 151 + 193 * 120 + 121 * 60 + 61 * 10;
    let all: usize = li.iter().sum();
    assert_eq!(sizes("lenet-li"), (parameters, all, 3 * all - li[0]));
    // Padded 5×5 convolutions: along an axis of n pixels, 5n − 6 products meet no padding.
    let cnn_bn = [(5 * 28 - 6usize).pow(2) * 16, (5 * 14 - 6usize).pow(2) * 16 * 32, 1568 * 10];
    let all: usize = cnn_bn.iter().sum();
    let parameters = (16 * 26 + 32) + (32 * (16 * 25 + 1) + 64) + 15_690;
    assert_eq!(sizes("cnn-bn"), (parameters, all, 3 * all - cnn_bn[0]));
    // 3×3 with padding: 3n − 2 products along an axis; with stride 2, 41 from 28 to 14 pixels, 20
    // from 14 to 7, 10 from 7 to 4. The 1×1 shortcuts come last.
    let resnet = [
        82 * 82 * (16 + 4 * 16 * 16),
        41 * 41 * 16 * 32 + 40 * 40 * 3 * 32 * 32 + 14 * 14 * 16 * 32,
        20 * 20 * 32 * 64 + 19 * 19 * 3 * 64 * 64 + 7 * 7 * 32 * 64,
        10 * 10 * 64 * 128 + 10 * 10 * 3 * 128 * 128 + 4 * 4 * 64 * 128,
        128 * 10,
    ];
    let all: usize = resnet.iter().sum();
    assert_eq!(sizes("resnet"), (701_178, all, 3 * all - 82 * 82 * 16));
    let vgg = [(1, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256)];
    let weights: usize = vgg.iter().map(|(from, to)| from * to * 9 + 2 * to).sum();
    assert_eq!(sizes("vgg").0, weights + 2570);
}

#[test]
fn parameters_do_not_overlap_and_lie_on_cache_lines() {
    for (name, _) in PRESETS {
        let network = network(name, [3, 32, 32], 7).unwrap();
        let mut places: Vec<_> = network.parameters().iter().map(|p| p.place).collect();
        places.sort_by_key(|p| p.offset);
        assert!(places.windows(2).all(|pair| pair[0].offset + pair[0].len <= pair[1].offset));
        assert!(places.iter().all(|p| p.offset % 16 == 0 && p.offset + p.len <= network.len()));
        for parameter in network.parameters() {
            let trained = parameter.place.offset < network.trained_len();
            assert_eq!(parameter.role.is_trained(), trained, "{}", parameter.name);
            assert_eq!(parameter.shape.iter().product::<usize>(), parameter.place.len);
        }
        assert_eq!((network.classes(), network.input()), (7, [3, 32, 32]));
    }
}

/// Images that a preset cannot do with are refused by the layer that they are too small for.
#[test]
fn small_images() {
    for (name, smallest) in
        [("lenet", 16), ("lenet-li", 16), ("cnn-bn", 4), ("vgg", 4), ("resnet", 1)]
    {
        network(name, [1, smallest, smallest], 3).unwrap();
        for input in [[1, smallest - 1, 40], [1, 40, smallest - 1], [0, 40, 40]] {
            let error = network(name, input, 3).unwrap_err().to_string();
            assert!(error.starts_with("layer ") && !error.contains('\n'), "{name}: {error}");
        }
    }
    let error = network("lenet", [1, 15, 28], 3).unwrap_err();
    let expected = "layer 5 (max-pool 2×2, stride 2): the window does not fit; \
                    its input is 16×1×8 (channels × rows × columns)";
    assert_eq!(error.to_string(), expected);
}

/// A shape of which no batch could be addressed is refused, not begun.
#[test]
fn large_images() {
    let huge = [usize::MAX, 1 << 40, u32::MAX as usize, 1 << 24];
    for (name, _) in PRESETS {
        for n in huge {
            for input in [[1, n, n], [1, 64, n], [n, 64, 64], [1, n, 64]] {
                let error = network(name, input, 10).unwrap_err().to_string();
                assert!(error.contains("too large"), "{name}, {input:?}: {error}");
            }
        }
        let error = network(name, [1, 64, 64], usize::MAX).unwrap_err().to_string();
        // SqueezeNet's last layer is a convolution, whose output is looked at first.
        let what = if name == "squeezenet1-1" { "output is" } else { "weights are" };
        assert!(error.contains(&format!("its {what} too large")), "{name}: {error}");
    }
}

#[test]
fn the_table_of_layers() {
    let table = network("lenet", [1, 28, 28], 10).unwrap().describe();
    let expected = "\
layer  kind                     output  parameters  MFLOP/image
       input                   1×28×28
conv1  convolution 5×5         6×24×24         156        0.173
1      ReLU                    6×24×24
2      max-pool 2×2, stride 2  6×12×12
conv2  convolution 5×5          16×8×8        2416        0.307
4      ReLU                     16×8×8
5      max-pool 2×2, stride 2   16×4×4
6      flatten                     256
fc1    linear                      120       30840        0.061
8      ReLU                        120
fc2    linear                       84       10164        0.020
10     ReLU                         84
fc3    linear                       10         850        0.002
total                                        44426        0.563
KiB/image: 32.7 in training, 9.9 in inference";
    assert_eq!(table, expected, "{table}");
}

#[test]
fn names_are_told_apart() {
    let ends = || layers![flatten(), linear(2)];
    let refused = |layers: &[Layer], words: &str| {
        let error = Network::new([1, 4, 4], &[layers, &ends()].concat()).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    };
    let conv = |name| conv2d(1, 1).named(name);
    refused(&[conv("a"), conv("a")], "layer a (convolution 1×1): another layer has this name");
    refused(&[relu(), conv("3"), relu()], "layer 3 (flatten): another layer has this name");
    for name in ["", "a.", ".a", "a..b", "a b", "a\n", "a/b"] {
        refused(&[conv(name)], "a name has letters, digits, `_` and `-`, at least one");
    }
    for name in ["ema", "optimizer", "ema.conv"] {
        refused(&[conv(name)], "a meaning of its own in checkpoints");
    }
    let block = residual(vec![conv("a")], vec![conv("a")]);
    Network::new([1, 4, 4], &[&[conv("a"), block][..], &ends()].concat()).unwrap();
}

/// More weights than a machine can train are refused by the layer that has them.
#[test]
fn large_weights() {
    let layers = layers![flatten(), linear(60_000), linear(60_000), linear(2)];
    let error = Network::new([1, 4, 4], &layers).unwrap_err().to_string();
    assert!(error.starts_with("layer 2 (linear): its weights are too large"), "{error}");
}

/// Weights that the kernels refuse, as they lay them out with inputs in whole vectors.
#[test]
fn large_kernels() {
    let layers = layers![conv2d(1 << 14, 128).padding(64), global_avg_pool2d(), linear(2)];
    let error = Network::new([1, 2, 2], &layers).unwrap_err().to_string();
    assert!(
        error.starts_with("layer 0 (convolution 128×128, padding 64): its weights are too large")
    );
}

/// A file of a few bytes may ask for hours of arithmetic, in one layer or in many.
#[test]
fn endless_work() {
    let tall = kernels::Window { padding: [4095, 0], ..kernels::Window::new([4096, 1]) };
    let convolution = Conv2d { options: tall.into(), bias: false, ..conv2d(1, 1) };
    let pooling =
        AvgPool2d { window: kernels::Window { padding: [2048, 0], ..tall }, ..avg_pool2d(1) };
    let ends = || layers![global_avg_pool2d(), flatten(), linear(2)];
    for layers in [layers![convolution], layers![pooling], vec![relu(); 2000]] {
        let layers = [layers, ends()].concat();
        let error = Network::new([1, 1 << 26, 1], &layers).unwrap_err().to_string();
        assert!(error.contains("more than 2³⁶ products: too large"), "{error}");
        Network::new([1, 4096, 1], &layers).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Any numbers whatever make a network or a message.
    #[test]
    fn absurd_numbers(
        numbers in prop::collection::vec((0u32..64, 0usize..8), 24),
        [same, mirrored, grouped] in any::<[bool; 3]>(),
        input in [1usize..4, 1..40, 1..40],
    ) {
        let number = |i: usize| -> usize {
            let (bits, off) = numbers[i];
            (1usize << bits).wrapping_sub(off).min(usize::MAX >> (off & 1))
        };
        let window = |i: usize| kernels::Window {
            kernel: [number(i) , number(i + 1)],
            stride: [number(i + 2), number(i + 3)],
            padding: [number(i + 4), number(i + 5)],
            dilation: [number(i + 6), number(i + 7)],
        };
        let mode = if mirrored { PaddingMode::Reflect } else { PaddingMode::Zeros };
        let options = Conv2dOptions::from(window(0)).padding_mode(mode);
        let options = options.padding([number(4), number(5)], [number(18), number(19)]);
        let options = options.groups(if grouped { number(20) } else { 1 });
        let layers = layers![
            Conv2d { outputs: number(8), options, same, bias: true },
            MaxPool2d { window: window(9), ceil: false },
            global_avg_pool2d(),
            linear(number(17)),
        ];
        for first in 0..3 {
            if let Err(error) = Network::new(input, &layers[first..]) {
                prop_assert!(error.to_string().starts_with("layer "), "{}", error);
            }
        }
    }
}
