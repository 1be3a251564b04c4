//! Every view against the definition of convolution, by counting.

use super::*;
use proptest::prelude::*;

/// A product of a convolution: the weight, the input and the output that meet in it, as places in
/// `[inputs][kernel]` of one output channel, of the input, and of the output.
struct Meeting {
    channel: usize,
    tap: [usize; 2],
    input: [usize; 2],
    output: [usize; 2],
}

/// Every product of one output channel, from the definition: signed positions, those outside the
/// input left out.
fn meetings(conv: &Convolution) -> Vec<Meeting> {
    let Window { kernel, stride, padding, dilation } = conv.window();
    let mut meetings = vec![];
    for output in grid(conv.output().size()) {
        for tap in grid(kernel) {
            let at = [0, 1].map(|axis| {
                (output[axis] * stride[axis] + tap[axis] * dilation[axis]) as isize
                    - padding[axis] as isize
            });
            let inside = |axis: usize| (0..conv.input().size()[axis] as isize).contains(&at[axis]);
            if inside(0) && inside(1) {
                let input = at.map(|at| at as usize);
                let of = |channel| Meeting { channel, tap, input, output };
                meetings.extend((0..conv.input().channels()).map(of));
            }
        }
    }
    meetings
}

fn grid([rows, columns]: [usize; 2]) -> impl Iterator<Item = [usize; 2]> {
    (0..rows).flat_map(move |y| (0..columns).map(move |x| [y, x]))
}

/// A product as the tables say it: places of the weight (in the first row), of x and of y.
type Product = (usize, usize, usize);

fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values
}

/// The products of all regions.
fn listed(im2col: &Im2col) -> Vec<Product> {
    let products = im2col.regions.iter().flat_map(|region| {
        im2col.taps[region.taps.clone()].iter().flat_map(|tap| {
            let columns = im2col.columns[region.columns.clone()].iter();
            columns.map(|column| (tap.w as usize, (tap.x + column.x) as usize, column.y as usize))
        })
    });
    sorted(products)
}

/// Whether every pixel of the target is the column of exactly one region: each output is written
/// once, even one that meets no tap.
fn writes_every_pixel_once(im2col: &Im2col) -> bool {
    let regions = im2col.regions.iter();
    let columns = regions.flat_map(|region| &im2col.columns[region.columns.clone()]);
    let written = sorted(columns.map(|column| column.y as usize));
    written == sorted(grid(im2col.target.size()).map(|pixel| im2col.target.offset(0, pixel)))
}

/// Whether the taps of each region are in the order of the weights, which is that of the sums.
fn sums_in_order(im2col: &Im2col) -> bool {
    let mut regions = im2col.regions.iter();
    regions.all(|region| im2col.taps[region.taps.clone()].is_sorted_by(|a, b| a.w < b.w))
}

fn axes(range: std::ops::RangeInclusive<usize>) -> [std::ops::RangeInclusive<usize>; 2] {
    [range.clone(), range]
}

prop_compose! {
    fn convolutions()(
        kernel in axes(1..=5),
        stride in axes(1..=3),
        padding in axes(0..=3),
        dilation in axes(1..=2),
        room in axes(0..=9),
        channels in axes(1..=3),
    ) -> Convolution {
        // The smallest plane that the window fits, and some more.
        let size = [0, 1].map(|axis| {
            let extent: usize = (kernel[axis] - 1) * dilation[axis] + 1;
            extent.saturating_sub(2 * padding[axis]).max(1) + room[axis]
        });
        let window = Window { kernel, stride, padding, dilation };
        Convolution::new(channels[0], size, channels[1], window).expect("the window fits")
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn forward_lists_every_product_once(conv in convolutions()) {
        let im2col = conv.forward();
        let expected = meetings(&conv).into_iter().map(|meeting| forward_place(&conv, &meeting));
        prop_assert_eq!(listed(&im2col), sorted(expected));
        prop_assert!(writes_every_pixel_once(&im2col));
        prop_assert!(sums_in_order(&im2col));
        prop_assert_eq!(im2col.row, conv.taps());
        prop_assert_eq!((im2col.source, im2col.target), (conv.input(), conv.output()));
    }

    #[test]
    fn data_gradient_lists_every_product_once(conv in convolutions()) {
        let im2col = conv.data_gradient();
        // Every output channel now is a source; the first row of the weights is input channel 0.
        let [kh, kw] = conv.window().kernel;
        let expected = meetings(&conv).into_iter().filter(|meeting| meeting.channel == 0);
        let expected = expected.flat_map(|Meeting { tap: [ky, kx], input, output, .. }| {
            (0..conv.output().channels()).map(move |o| {
                let weight = (o * kh + ky) * kw + kx;
                let stride = if kh * kw == 1 { conv.input().channels() } else { 1 };
                let (x, y) = (conv.output().offset(o, output), conv.input().offset(0, input));
                (weight * stride, x, y)
            })
        });
        prop_assert_eq!(listed(&im2col), sorted(expected));
        prop_assert!(writes_every_pixel_once(&im2col));
        prop_assert!(sums_in_order(&im2col));
        let row = if kh * kw == 1 { 1 } else { conv.output().channels() * kh * kw };
        prop_assert_eq!(im2col.row, row);
        prop_assert_eq!((im2col.source, im2col.target), (conv.output(), conv.input()));
    }

    #[test]
    fn weight_gradient_lists_every_product_once(conv in convolutions()) {
        let im2col = conv.weight_gradient();
        let expected = meetings(&conv).into_iter().map(|meeting| forward_place(&conv, &meeting));
        prop_assert_eq!(listed(&im2col), sorted(expected));
        prop_assert_eq!((im2col.source, im2col.target), (conv.input(), conv.output()));
    }

    #[test]
    fn pooled_forward_lists_windows_in_fours(conv in convolutions()) {
        let unpadded = conv.window().padding == [0, 0];
        prop_assert_eq!(conv.forward_pooled().is_some(), unpadded);
        let window = conv.window().padding(0);
        let size = [0, 1].map(|axis| conv.input().size()[axis] + 2 * conv.window().padding[axis]);
        let conv = Convolution::new(conv.input().channels(), size, conv.output().channels(), window);
        let conv = conv.expect("a window fits a plane that holds its padding");
        let im2col = conv.forward_pooled().expect("no padding");

        let halves = conv.output().size().map(|n| n / 2);
        prop_assert_eq!(im2col.target, Layout::new(1, conv.output().channels(), halves));
        let taps: Vec<_> = grid(window.kernel).enumerate().collect();
        let mut fours = im2col.columns.chunks(4);
        for pixel in grid(halves) {
            let columns = fours.next().expect("four columns for every pooled pixel");
            for (column, [j, i]) in columns.iter().zip([[0, 0], [0, 1], [1, 0], [1, 1]]) {
                let output = [2 * pixel[0] + j, 2 * pixel[1] + i];
                prop_assert_eq!(column.y as usize, im2col.target.offset(0, pixel));
                let first = [0, 1].map(|axis| output[axis] * window.stride[axis]);
                prop_assert_eq!(column.x as usize, conv.input().offset(0, first));
            }
        }
        prop_assert!(fours.next().is_none());
        let all = Region { taps: 0..conv.taps(), columns: 0..im2col.columns.len() };
        prop_assert_eq!(&im2col.regions, &[all]);
        for (tap, c) in im2col.taps.chunks(taps.len()).zip(0..) {
            for (tap, &(k, [ky, kx])) in tap.iter().zip(&taps) {
                let at = [ky * window.dilation[0], kx * window.dilation[1]];
                prop_assert_eq!(tap.w as usize, c * taps.len() + k);
                prop_assert_eq!(tap.x as usize, conv.input().offset(c, at));
            }
        }
    }

    #[test]
    fn multiply_adds_are_the_products(conv in convolutions()) {
        let products = meetings(&conv).len() * conv.output().channels();
        prop_assert_eq!(conv.multiply_adds(), products);
    }
}

/// The place of a product in the forward view, and in that of the weight gradient.
fn forward_place(conv: &Convolution, meeting: &Meeting) -> Product {
    let &Meeting { channel, tap: [ky, kx], input, output } = meeting;
    let [kh, kw] = conv.window().kernel;
    let weight = (channel * kh + ky) * kw + kx;
    (weight, conv.input().offset(channel, input), conv.output().offset(0, output))
}

#[test]
fn multiply_adds_of_known_layers() {
    let of = |channels, size, outputs, window| {
        Convolution::new(channels, size, outputs, window).unwrap().multiply_adds()
    };
    // LeNet: 0.253 million per image in all.
    assert_eq!(of(1, [28, 28], 6, Window::new([5, 5])), 86_400);
    assert_eq!(of(6, [12, 12], 16, Window::new([5, 5])), 153_600);
    assert_eq!(Convolution::linear(256, 120).multiply_adds(), 30_720);
    // A padded 3×3 has two thirds of its taps at an edge: (28 · 3 − 2)² instead of (28 · 3)².
    assert_eq!(of(1, [28, 28], 1, Window::new([3, 3]).padding(1)), 82 * 82);
    // Nothing but padding.
    assert_eq!(of(1, [1, 1], 1, Window::new([1, 1]).padding(3).stride(2)), 0);
}

#[test]
fn windows_that_do_not_fit_have_no_convolution() {
    assert_eq!(Convolution::new(1, [4, 9], 1, Window::new([5, 5])), None);
    assert_eq!(Convolution::new(1, [9, 8], 1, Window::new([5, 5]).dilation(2)), None);
}
