//! What a convolution with groups or any padding is: shapes, parameters, words, and what is refused.

use model::*;

fn network(input: [usize; 3], conv: Conv2d) -> Result<Network, ShapeError> {
    Network::new(input, &layers![conv.named("c"), global_avg_pool2d()])
}

fn output(input: [usize; 3], conv: Conv2d) -> [usize; 3] {
    network(input, conv).unwrap().summaries()[0].output
}

#[test]
fn shapes() {
    assert_eq!(output([6, 9, 8], conv2d(12, 3).groups(3)), [12, 7, 6]);
    assert_eq!(output([6, 9, 8], conv2d(12, 3).groups(6).stride(2).padding(1)), [12, 5, 4]);
    assert_eq!(output([6, 9, 8], conv2d(2, [5, 2])), [2, 5, 7]);
    assert_eq!(output([6, 9, 8], conv2d(2, [5, 2]).stride([2, 3]).padding([1, 0])), [2, 4, 3]);
    for kernel in 1..=7 {
        let same = conv2d(2, [kernel, 8 - kernel]).same();
        assert_eq!(output([1, 9, 20], same.clone()), [2, 9, 20]);
        // What comes later does not change what is the same.
        assert_eq!(output([1, 9, 20], same.clone().dilation(3)), [2, 9, 20]);
        assert_eq!(output([1, 20, 20], same.reflect().dilation(2)), [2, 20, 20]);
    }
    assert_eq!(output([1, 5, 5], conv2d(1, 3).uneven_padding([0, 1], [2, 4])), [1, 5, 8]);
    assert_eq!(output([1, 5, 5], conv2d(1, 3).padding(4).reflect()), [1, 11, 11]);
    // The last word counts.
    assert_eq!(output([1, 5, 5], conv2d(1, 3).same().padding(0)), [1, 3, 3]);
}

/// As PyTorch has them: weights of the channels of a group, and as many terms in the bound of initial weights.
#[test]
fn parameters() {
    let network = network([12, 6, 6], conv2d(24, [3, 5]).groups(4)).unwrap();
    let [weight, bias] = network.parameters() else { panic!("{:?}", network.parameters()) };
    assert_eq!((&*weight.name, &weight.shape[..]), ("c.weight", &[24, 3, 3, 5][..]));
    assert_eq!((&*bias.name, &bias.shape[..]), ("c.bias", &[24][..]));
    let fan_in = 3 * 3 * 5;
    assert_eq!((weight.role, bias.role), (Role::Weight { fan_in }, Role::Bias { fan_in }));
    let weights = network.initialise(1, Init::Pytorch);
    let largest = weight.place.of(&weights).iter().fold(0f32, |most, w| most.max(w.abs()));
    let bound = 1.0 / (fan_in as f32).sqrt();
    assert!(largest <= bound && largest > 0.95 * bound, "{largest} {bound}");
    // Each output meets three channels: 4·2 positions by 15 taps.
    assert_eq!(network.multiply_adds(), 24 * 3 * 15 * 4 * 2);
}

#[test]
fn in_words() {
    for (conv, words) in [
        (conv2d(8, 3).groups(4).padding(1), "convolution 3×3, padding 1, 4 groups"),
        (conv2d(8, [3, 2]).same(), "convolution 3×2, padding same"),
        (
            conv2d(8, 3).uneven_padding([0, 1], [2, 3]).stride(2),
            "convolution 3×3, stride 2, padding [0, 2, 1, 3]",
        ),
        (conv2d(8, 3).padding([1, 2]).reflect(), "convolution 3×3, padding 1×2, mirrored"),
    ] {
        assert_eq!(network([4, 9, 9], conv).unwrap().summaries()[0].kind, words);
    }
}

/// In one line, with the layer, what was found and what would do.
#[test]
fn refusals() {
    for (input, conv, words) in [
        (
            [6, 5, 5],
            conv2d(8, 3).groups(4),
            "layer c (convolution 3×3, 4 groups): 6 input channels cannot be cut into 4 groups: expected a number of \
             groups that divides the input channels (6) and the outputs (8); its input is 6×5×5 (channels × rows × \
             columns)",
        ),
        ([8, 5, 5], conv2d(6, 3).groups(4), "6 outputs cannot be cut into 4 groups: expected"),
        ([8, 5, 5], conv2d(8, 3).groups(0), "8 input channels cannot be cut into 0 groups"),
        ([8, 5, 5], conv2d(8, 3).groups(16), "8 input channels cannot be cut into 16 groups"),
        (
            [1, 5, 5],
            conv2d(1, 3).same().stride([1, 2]),
            "padding \"same\" with a stride of 1×2: expected stride 1, or padding in numbers",
        ),
        (
            [1, 5, 3],
            conv2d(1, 3).padding(3).reflect(),
            "3 columns of padding cannot mirror an image of 3: expected fewer than the image has",
        ),
        (
            [1, 2, 9],
            conv2d(1, 6).same().reflect(),
            "3 rows of padding cannot mirror an image of 2: expected fewer than the image has",
        ),
        ([1, 5, 5], conv2d(1, 7).uneven_padding([1, 1], [1, 0]), "the window does not fit"),
        ([1, 5, 5], conv2d(1, 0).same(), "the window does not fit"),
        ([1, 5, 5], conv2d(1, 3).same().dilation(usize::MAX), "the window does not fit"),
        (
            [1, 5, 5],
            conv2d(1, 3).uneven_padding([0, 0], [5000, 0]),
            "`padding` is [0,5000,0,0]: expected a whole number from 0 to 4096",
        ),
    ] {
        let error = network(input, conv).unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains('\n'), "{words}: {error}");
    }
}
