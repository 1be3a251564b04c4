//! Convolution, ReLU and 2×2 max-pooling in one pass: on every path, to the bit, what the separate
//! operations give, values and gradients.

use crate::batches::{Case, GARBAGE, Guarded, cases};
use crate::common::{assert_same_bits, results_on_every_path};
use kernels::{
    Epilogue, Isa, LANES, Layout, Operands, Start, Store, Window, channel_sums, implicit_gemm,
    implicit_gemm_pooled, max_pool, max_pool_backward, relu_backward, unpool,
};
use proptest::prelude::*;
use reference::{conv2d, max_pool2d_sources, relu, widen};

const HALVING: Window =
    Window { kernel: [2; 2], stride: [2; 2], padding: [0; 2], dilation: [1; 2] };

/// Values and gradients of ReLU and 2×2 max-pooling after a convolution, all as the images have
/// them.
struct Pooling {
    y: Vec<f32>,
    /// Before the pooling.
    dy: Vec<f32>,
    db: Vec<f32>,
}

/// A convolution with an output large enough to pool.
struct Pooled<'a> {
    case: &'a Case,
    /// One block before and after pooling.
    full: Layout,
    half: Layout,
    weights: Guarded,
    bias: Guarded,
    x: Guarded,
    dy: Guarded,
}

/// What stands in the memory around the masks.
const MASK_POISON: [u16; 4] = [0xdead; 4];

impl<'a> Pooled<'a> {
    /// Of every four output channels the third has no weights, so that all of a window are equal,
    /// and the fourth is below zero throughout.
    fn new(case: &'a Case, x: &[f32]) -> Pooled<'a> {
        let full = case.layer.output();
        let half = full.with_size(full.size().map(|n| n / 2));
        let (mut weights, mut bias) = (case.weights(), case.bias());
        let channels = weights.chunks_exact_mut(case.layer.taps()).zip(&mut bias);
        for (channel, (weights, bias)) in channels.enumerate() {
            match channel % 4 {
                2 => weights.fill(0.0),
                3 => *bias = -1e5,
                _ => {}
            }
        }
        let batch = &case.batch;
        let dy = Case { exact: false, ..case.clone() };
        let dy = dy.values(8, batch.slots.len() * half.channels() * half.pixels());
        Pooled {
            case,
            full,
            half,
            weights: Guarded::new(&weights),
            bias: Guarded::new(&bias),
            x: batch.lanes(&case.layer.input(), x, GARBAGE),
            dy: batch.lanes(&half, &dy, 0.0),
        }
    }

    /// The whole batch, before and after pooling.
    fn layouts(&self) -> [Layout; 2] {
        [&self.full, &self.half].map(|block| self.case.batch.layout(block))
    }

    /// In one pass: the pooled values and the masks.
    fn forward(&self, isa: Isa) -> (Guarded, Vec<[u16; 4]>) {
        let [_, half] = self.layouts();
        let im2col = self.case.layer.forward_pooled().expect("no padding");
        let mut y = Guarded::poisoned(half.len());
        let pixels = half.blocks() * half.channels() * half.pixels();
        let mut masks = vec![MASK_POISON; pixels + 2];
        let inner = &mut masks[1..=pixels];
        let bias = Some(&self.bias[..]);
        implicit_gemm_pooled(isa, &im2col, &self.weights, &self.x, bias, &mut y, inner);
        y.assert_unused("pooled", &half);
        assert_eq!([masks[0], masks[pixels + 1]], [MASK_POISON; 2], "{isa}: around the masks");
        (y, masks[1..=pixels].to_vec())
    }

    fn fused(&self, isa: Isa) -> Pooling {
        let [full, half] = self.layouts();
        let (y, masks) = self.forward(isa);
        let mut dy = Guarded::poisoned(full.len());
        let mut db = self.case.values(9, full.channels());
        unpool(isa, &masks, &self.dy, &half, &full, &mut dy, Some(&mut db));
        dy.assert_unused("unpooled", &full);
        self.images(&y, &dy, db)
    }

    fn separate(&self, isa: Isa) -> Pooling {
        let [full, half] = self.layouts();
        let im2col = self.case.layer.forward();
        let mut activated = Guarded::poisoned(full.len());
        let bias = Start::Bias(&self.bias);
        implicit_gemm(
            isa,
            &im2col,
            Operands { weights: &self.weights, x: &self.x, start: bias, epilogue: Epilogue::Relu },
            &mut activated,
        );
        let mut y = Guarded::poisoned(half.len());
        max_pool(isa, &activated, &full, HALVING, &mut y);
        let (mut dy, mut db) =
            (Guarded::poisoned(full.len()), self.case.values(9, full.channels()));
        let pair = [&activated[..], &y];
        max_pool_backward(isa, pair, &self.dy, &full, HALVING, &mut dy, Store::Overwrite);
        relu_backward(isa, &activated, &mut dy);
        channel_sums(isa, &dy, &full, &mut db);
        self.images(&y, &dy, db)
    }

    fn images(&self, y: &[f32], dy: &[f32], db: Vec<f32>) -> Pooling {
        let batch = &self.case.batch;
        Pooling { y: batch.images(&self.half, y), dy: batch.images(&self.full, dy), db }
    }

    /// Which element of its window each pooled value of each image took, if any.
    fn winners(&self, masks: &[[u16; 4]]) -> Vec<Option<usize>> {
        let per_block = self.half.channels() * self.half.pixels();
        let of = |slot: &usize| {
            let (block, lane) = (slot / LANES, slot % LANES);
            masks[block * per_block..][..per_block].iter().map(move |words| {
                let set: Vec<usize> = (0..4).filter(|k| words[*k] >> lane & 1 == 1).collect();
                assert!(set.len() <= 1, "lane {lane} took {set:?}");
                set.first().copied()
            })
        };
        self.case.batch.slots.iter().flat_map(of).collect()
    }
}

fn poolable() -> impl Strategy<Value = Case> {
    let large = |case: &Case| case.layer.output().size().iter().all(|n| *n >= 2);
    cases(0).prop_filter("nothing to pool", large)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn fused_pooling_is_the_separate_operations(case in poolable()) {
        let pooled = Pooled::new(&case, &case.x());
        results_on_every_path("fused", |isa| {
            let Pooling { y, dy, db } = pooled.fused(isa);
            let separate = pooled.separate(isa);
            assert_same_bits(&format!("{isa}: pooled values"), &y, &separate.y);
            assert_same_bits(&format!("{isa}: gradients before the pooling"), &dy, &separate.dy);
            assert_same_bits(&format!("{isa}: gradients of the bias"), &db, &separate.db);
            [y, dy, db].concat()
        });
    }

    /// Values and winners are those of the reference: NaN where it has NaN, and then no winner.
    #[test]
    fn fused_pooling_lets_nan_through(
        case in poolable(),
        values in prop::sample::subsequence(&[f32::NAN, f32::INFINITY, -f32::INFINITY][..], 0..=3),
        places in any::<[prop::sample::Index; 3]>(),
    ) {
        let case = Case { exact: true, ..case };
        let mut x = case.x();
        for (value, place) in values.into_iter().zip(places) {
            let place = place.index(x.len());
            x[place] = value;
        }
        let pooled = Pooled::new(&case, &x);
        let conv = case.reference();
        let bias = widen(&pooled.bias);
        let y = relu(&conv2d(&conv, &widen(&x), &widen(&pooled.weights), Some(&bias)));
        let planes = conv.output();
        let sources = max_pool2d_sources(&planes, HALVING, &y).into_iter();
        let sources: Vec<usize> = sources.map(|source| source.expect("a whole window")).collect();
        let expected: Vec<f32> = sources.iter().map(|source| y[*source] as f32).collect();
        let element = |source: &usize| {
            let (row, column) = (source / planes.size[1] % planes.size[0], source % planes.size[1]);
            (y[*source] > 0.0).then_some(row % 2 * 2 + column % 2)
        };
        let winners: Vec<_> = sources.iter().map(element).collect();
        for isa in Isa::available() {
            let (y, masks) = pooled.forward(isa);
            let y = case.batch.images(&pooled.half, &y);
            assert_same_bits(&format!("{isa}: pooled values"), &y, &expected);
            prop_assert_eq!(pooled.winners(&masks), winners.clone(), "{}", isa);
        }
    }
}
