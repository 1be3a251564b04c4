//! Groups, uneven and mirrored padding, by what they are short for.

use kernels::{Conv2dOptions, PaddingMode};
use proptest::prelude::*;
use reference::{Conv, Planes, WindowLimits, channels_in_groups, conv2d, uniform};

const LIMITS: WindowLimits = WindowLimits { kernel: [3, 4], padding: 3, dilation: 2, size: 9 };

fn convolutions() -> impl Strategy<Value = Conv> {
    (LIMITS.options(), channels_in_groups(6), 1..=3usize).prop_map(
        |((options, size), [groups, inputs, outputs], images)| {
            let options = options.groups(groups);
            Conv { images, inputs, outputs, size, options }
        },
    )
}

/// Where a plane with its padding has what: an index of the plane, or nothing.
fn padded_axis(options: &Conv2dOptions, axis: usize, size: usize) -> Vec<Option<usize>> {
    let inside = (0..size).map(Some);
    let mirrored = options.padding_mode == PaddingMode::Reflect;
    let outside = |at: usize| mirrored.then_some(at);
    let before = (1..=options.window.padding[axis]).rev().map(outside);
    let after = (1..=options.padding_after[axis]).map(|n| outside(size.wrapping_sub(1 + n)));
    before.chain(inside).chain(after).collect()
}

fn padded(conv: &Conv, x: &[f64]) -> (Conv, Vec<f64>) {
    let [rows, columns] = [0, 1].map(|axis| padded_axis(&conv.options, axis, conv.size[axis]));
    let plane = conv.input();
    let mut y = vec![];
    for image in 0..conv.images {
        for channel in 0..conv.inputs {
            for row in &rows {
                let value =
                    |(row, column): (usize, usize)| x[plane.index(image, channel, [row, column])];
                y.extend(columns.iter().map(|column| row.zip(*column).map_or(0.0, value)));
            }
        }
    }
    let options = conv.options.padding([0, 0], [0, 0]).padding_mode(PaddingMode::Zeros);
    (Conv { size: [rows.len(), columns.len()], options, ..*conv }, y)
}

proptest! {
    #[test]
    fn padding_may_be_written_out(conv in convolutions(), seed in any::<u64>()) {
        let (x, w) = (uniform::<f64>(conv.input().len(), seed), uniform(conv.weights(), seed ^ 1));
        let (wide, bordered) = padded(&conv, &x);
        let (y, expected) = (conv2d(&conv, &x, &w, None), conv2d(&wide, &bordered, &w, None));
        prop_assert_eq!(y.len(), expected.len());
        let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-12;
        prop_assert!(y.iter().zip(&expected).all(near));
    }

    /// Groups are convolutions of their own, side by side.
    #[test]
    fn groups_do_not_see_each_other(conv in convolutions(), seed in any::<u64>()) {
        let (x, w) = (uniform::<f64>(conv.input().len(), seed), uniform(conv.weights(), seed ^ 1));
        let y = conv2d(&conv, &x, &w, None);
        let groups = conv.options.groups;
        let one = Conv {
            inputs: conv.inputs / groups,
            outputs: conv.outputs / groups,
            options: conv.options.groups(1),
            ..conv
        };
        let of_group = |planes: Planes, values: &[f64], group: usize| -> Vec<f64> {
            let len = planes.channels / groups * planes.pixels();
            let images = values.chunks_exact(planes.channels * planes.pixels());
            images.flat_map(|image| &image[group * len..][..len]).copied().collect()
        };
        for group in 0..groups {
            let x = of_group(conv.input(), &x, group);
            let w = &w[group * one.weights()..][..one.weights()];
            prop_assert_eq!(of_group(conv.output(), &y, group), conv2d(&one, &x, w, None));
        }
    }
}
