//! What Winograd's convolution promises beyond its values: an image's outputs depend on that image
//! alone, what is not finite is noticed, wrong lengths are refused.

use crate::batches::{Batch, Case, GARBAGE, Guarded, batches, winograd_layer};
use crate::common::{assert_same_bits, operands, relu_if};
use kernels::{
    Epilogue, Isa, LANES, Operands, Start, Winograd, winograd, winograd_data_gradient,
    winograd_weight_gradient, winograd_weights,
};
use proptest::prelude::*;
use reference::{Planes, conv2d, conv2d_backward, relu, widen};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Small layers and batches of one to three blocks.
fn cases() -> impl Strategy<Value = Case> {
    let channels = || prop::sample::select(&[32, 33, 40][..]);
    let layers = ([channels(), channels()], [1..=9usize, 1..=9usize], [0..=2usize, 0..=2usize]);
    layers
        .prop_filter_map("no such layer", |(channels, size, padding)| {
            winograd_layer(channels, size, padding)
        })
        .prop_flat_map(|layer| (Just(layer), batches(layer, 1_000_000, 3), any::<u64>()))
        .prop_map(|(layer, batch, seed)| Case { layer, batch, exact: false, seed })
}

/// The three products of images, in lanes among garbage, with weights transformed once.
struct Run {
    plan: Winograd,
    isa: Isa,
    weights: Vec<f32>,
    scratch: Guarded,
}

impl Run {
    fn new(isa: Isa, case: &Case) -> Run {
        let plan = Winograd::new(&case.layer).unwrap();
        let mut weights = vec![f32::NAN; plan.weights()];
        winograd_weights(isa, &plan, &case.weights(), &mut weights);
        let scratch = Guarded::poisoned(plan.scratch());
        Run { plan, isa, weights, scratch }
    }

    fn forward(&mut self, case: &Case, x: &[f32], activated: bool) -> Vec<f32> {
        let Run { plan, isa, weights, scratch } = self;
        let Case { layer, batch, .. } = case;
        let x = batch.lanes(&layer.input(), x, GARBAGE);
        let mut y = Guarded::poisoned(batch.layout(&layer.output()).len());
        let bias = case.bias();
        winograd(
            *isa,
            plan,
            Operands { weights, x: &x, start: Start::Bias(&bias), epilogue: relu_if(activated) },
            scratch,
            &mut y,
        );
        batch.images(&layer.output(), &y)
    }

    fn data_gradient(&mut self, case: &Case, dy: &[f32]) -> Vec<f32> {
        let Run { plan, isa, weights, scratch } = self;
        let Case { layer, batch, .. } = case;
        let dy = batch.lanes(&layer.output(), dy, GARBAGE);
        let mut dx = Guarded::poisoned(batch.layout(&layer.input()).len());
        winograd_data_gradient(*isa, plan, operands(weights, &dy), scratch, &mut dx);
        batch.images(&layer.input(), &dx)
    }

    fn weight_gradient(&mut self, case: &Case, x: &[f32], dy: &[f32], elsewhere: f32) -> Vec<f32> {
        let Run { plan, isa, scratch, .. } = self;
        let Case { layer, batch, .. } = case;
        let x = batch.lanes(&layer.input(), x, elsewhere);
        let dy = batch.lanes(&layer.output(), dy, 0.0);
        let mut dw = case.weights();
        winograd_weight_gradient(*isa, plan, &x, &dy, scratch, &mut dw);
        dw
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// The outputs of an image have the same bits in any lane of any block of any batch.
    #[test]
    fn images_do_not_see_each_other(
        case in cases(),
        (chosen, slot) in (any::<prop::sample::Index>(), 0..LANES),
    ) {
        let one = chosen.index(case.batch.slots.len());
        let alone = Case { batch: Batch { blocks: 1, slots: vec![slot] }, ..case.clone() };
        let (x, dy) = (case.x(), case.dy());
        for isa in Isa::available() {
            let mut run = Run::new(isa, &case);
            let y = run.forward(&case, &x, true);
            let expected = run.forward(&alone, &case.batch.image(&x, one), true);
            assert_same_bits(&format!("{isa}: y"), &case.batch.image(&y, one), &expected);
            let dx = run.data_gradient(&case, &dy);
            let expected = run.data_gradient(&alone, &case.batch.image(&dy, one));
            assert_same_bits(&format!("{isa}: dx"), &case.batch.image(&dx, one), &expected);
        }
    }

    /// Whatever finite values the lanes without an image hold.
    #[test]
    fn idle_lanes_do_not_change_weight_gradients(case in cases()) {
        let (x, dy) = (case.x(), case.dy());
        for isa in Isa::available() {
            let mut run = Run::new(isa, &case);
            let clean = run.weight_gradient(&case, &x, &dy, 0.0);
            for garbage in [GARBAGE, -GARBAGE, f32::MIN_POSITIVE / 3.0] {
                let got = run.weight_gradient(&case, &x, &dy, garbage);
                assert_same_bits(&format!("{isa}: {garbage:e}"), &got, &clean);
            }
        }
    }

    /// Where the reference gives no finite value, nor does the kernel. What does not even share a 2×2
    /// tile with such an output keeps its bits.
    #[test]
    fn what_is_not_finite_is_noticed(
        case in cases(),
        planted in prop::sample::select(&[f32::NAN, f32::INFINITY, -f32::INFINITY][..]),
        places in any::<[prop::sample::Index; 2]>(),
        activated in any::<bool>(),
    ) {
        let conv = case.reference();
        let clean = [case.x(), case.dy()];
        let mut planted_in = clean.clone();
        let places = [0, 1].map(|i| places[i].index(clean[i].len()));
        (0..2).for_each(|i| planted_in[i][places[i]] = planted);
        let [x, dy] = &planted_in;
        let (weights, bias) = (widen(&case.weights()), widen(&case.bias()));
        let mut y = conv2d(&conv, &widen(x), &weights, Some(&bias));
        if activated {
            y = relu(&y);
        }
        let of_x = conv2d_backward(&conv, &widen(x), &weights, &widen(&clean[1]));
        let of_dy = conv2d_backward(&conv, &widen(&clean[0]), &weights, &widen(dy));
        let padding = conv.window().padding;
        let forward = Spread { from: conv.input(), at: places[0], padding, to: conv.output() };
        let padding = padding.map(|p| 2 - p);
        let backward = Spread { from: conv.output(), at: places[1], padding, to: conv.input() };
        for isa in Isa::available() {
            let mut run = Run::new(isa, &case);
            let got = [&clean[0], x].map(|x| run.forward(&case, x, activated));
            forward.check(&format!("{isa}: y"), got, &y)?;
            let got = [&clean[1], dy].map(|dy| run.data_gradient(&case, dy));
            backward.check(&format!("{isa}: dx"), got, &of_dy.dx)?;
            for (what, x, dy, expected) in
                [("x", x, &clean[1], &of_x.dw), ("dy", &clean[0], dy, &of_dy.dw)]
            {
                let got = run.weight_gradient(&case, x, dy, GARBAGE);
                for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
                    let noticed = expected.is_finite() || !got.is_finite();
                    prop_assert!(noticed, "{isa}: weight {i} is {got} with {planted} in {what}");
                }
            }
        }
    }
}

/// Where a pixel of the operand may be seen in the product.
struct Spread {
    from: Planes,
    /// The place of the pixel.
    at: usize,
    padding: [usize; 2],
    to: Planes,
}

impl Spread {
    fn check(
        &self,
        what: &str,
        [before, after]: [Vec<f32>; 2],
        expected: &[f64],
    ) -> Result<(), TestCaseError> {
        for (i, (after, before)) in after.iter().zip(&before).enumerate() {
            if !expected[i].is_finite() {
                prop_assert!(!after.is_finite(), "{what}: {i} is {after}, not {}", expected[i]);
            }
            if !self.reaches(i) {
                prop_assert_eq!(after.to_bits(), before.to_bits(), "{}: {}", what, i);
            }
        }
        Ok(())
    }

    /// Whether the output at a place is of the same image, and sees the pixel or is beside one that
    /// does.
    fn reaches(&self, to: usize) -> bool {
        let split = |planes: &Planes, place: usize| {
            let (plane, pixel) = (place / planes.pixels(), place % planes.pixels());
            (plane / planes.channels, [pixel / planes.size[1], pixel % planes.size[1]])
        };
        let ((image, at), (of, output)) = (split(&self.from, self.at), split(&self.to, to));
        let along = |axis: usize| {
            let seen = at[axis] + self.padding[axis];
            (output[axis]..=output[axis] + 4).contains(&(seen + 1))
        };
        image == of && along(0) && along(1)
    }
}

/// Wrong lengths are refused with a message that says which.
#[test]
fn lengths_are_checked() {
    let layer = winograd_layer([32, 40], [6, 5], [1, 0]).unwrap();
    let plan = Winograd::new(&layer).unwrap();
    let isa = Isa::detect();
    let [x, y, w] = [layer.input().len(), layer.output().len(), layer.weights()];
    let (u, room) = (plan.weights(), plan.scratch());
    let zeros = |len: usize| vec![0.0; len];
    let transform = |w, to| winograd_weights(isa, &plan, &zeros(w), &mut zeros(to));
    let forward = |u, x, start: Start, room, y| {
        let (u, x) = (zeros(u), zeros(x));
        winograd(
            isa,
            &plan,
            Operands { weights: &u, x: &x, start, epilogue: Epilogue::None },
            &mut zeros(room),
            &mut zeros(y),
        )
    };
    let data = |u, dy, start: Start, room, dx| {
        let (u, dy) = (zeros(u), zeros(dy));
        winograd_data_gradient(
            isa,
            &plan,
            Operands { weights: &u, x: &dy, start, epilogue: Epilogue::None },
            &mut zeros(room),
            &mut zeros(dx),
        )
    };
    let weight = |x, dy, room, dw| {
        let (x, dy) = (zeros(x), zeros(dy));
        winograd_weight_gradient(isa, &plan, &x, &dy, &mut zeros(room), &mut zeros(dw))
    };
    let zero = Start::Zero;

    type Call<'a> = (&'static str, &'a dyn Fn());
    let refused: &[Call] = &[
        ("weights to transform", &|| transform(w + 9, u)),
        ("weights to transform", &|| transform(u, u)),
        ("transformed weights", &|| transform(w, u - 1)),
        ("transformed weights", &|| forward(u + 1, x, zero, room, y)),
        ("transformed weights", &|| forward(w, x, zero, room, y)),
        ("input of a convolution", &|| forward(u, x + 16, zero, room, y)),
        ("output of a convolution", &|| forward(u, x, zero, room, y - 16)),
        ("output of a convolution", &|| forward(u, 2 * x, Start::Output, room, y)),
        ("bias of a convolution", &|| forward(u, x, Start::Bias(&[0.0; 32]), room, y)),
        ("scratch of a convolution", &|| forward(u, x, zero, room - 1, y)),
        ("transformed weights", &|| data(w, y, zero, room, x)),
        ("input of a convolution", &|| data(u, y, zero, room, x - 1)),
        ("output of a convolution", &|| data(u, y + 1, zero, room, x)),
        ("output of a convolution", &|| data(u, y, Start::Output, room, 2 * x)),
        ("bias of a convolution", &|| data(u, y, Start::Bias(&[0.0; 40]), room, x)),
        ("scratch of a convolution", &|| data(u, y, zero, 0, x)),
        ("input of a convolution", &|| weight(x + 1, y, room, w)),
        ("output of a convolution", &|| weight(x, 2 * y, room, w)),
        ("scratch of a convolution", &|| weight(x, y, room - 1, w)),
        ("weight gradient", &|| weight(x, y, room, u)),
        ("weight gradient", &|| weight(x, y, room, w - 1)),
    ];
    for (message, call) in refused {
        let panic = catch_unwind(AssertUnwindSafe(call)).expect_err(message);
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| said.to_string()));
        assert!(said.as_ref().is_some_and(|said| said.contains(message)), "{message}: {said:?}");
    }
    // The right lengths are not, nor is a batch without blocks.
    transform(w, u);
    forward(u, x, zero, room, y);
    forward(u, 3 * x, Start::Bias(&[0.0; 40]), room, 3 * y);
    data(u, 2 * y, Start::Bias(&[0.0; 32]), room, 2 * x);
    weight(2 * x, 2 * y, room, w);
    forward(u, 0, zero, room, 0);
    data(u, 0, zero, room, 0);
    weight(0, 0, room, w);
}
