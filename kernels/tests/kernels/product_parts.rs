//! Products of shapes that tell parts apart, by teams: lines that are asked for ahead, and sums of few pixels.

use crate::parts::{POISON, same_by_teams, tensors};
use kernels::{Convolution, Epilogue, Isa, Operands, Start, Window};

/// Products of one tap for each plane, whose lines are asked for ahead: of ten rows, which some paths have in tiles of three,
/// of some tiles more, and of none.
#[test]
fn lines_ahead() {
    let planes = |outputs| Convolution::new(40, [60, 60], outputs, Window::new([1, 1])).unwrap();
    for (blocks, layer) in [(3, Convolution::linear(27_648, 10)), (1, planes(33))] {
        let [x, _, w] = tensors(&(blocks, layer), 7);
        same_by_teams("forward", &|cores| {
            let mut y = vec![POISON; layer.output().with_blocks(blocks).len()];
            let (start, epilogue) = (Start::Zero, Epilogue::None);
            let operands = Operands { weights: &w, x: &x, start, epilogue };
            kernels::implicit_gemm(cores, &layer.forward(), operands, &mut y);
            y
        })
        .unwrap();
    }
    let (layer, start, epilogue) = (planes(0), Start::Zero, Epilogue::None);
    let x = vec![1.0; layer.input().len()];
    for isa in Isa::available() {
        let operands = Operands { weights: &[], x: &x, start, epilogue };
        kernels::implicit_gemm(isa, &layer.forward(), operands, &mut []);
    }
}

/// Parts that add to sums of 512 weights and 32 of 40 outputs at a time have room of their own.
#[test]
fn weight_gradients_of_few_pixels() {
    let layer = Convolution::new(128, [5, 5], 40, Window::new([3, 3]).padding(1)).unwrap();
    let (im2col, [x, dy, _]) = (layer.forward(), tensors(&(2, layer), 9));
    for _ in 0..5 {
        same_by_teams("transposed weight gradient", &|cores| {
            let mut room = vec![POISON; im2col.transposed_gradient()];
            let mut dw = vec![0.5; layer.weights()];
            kernels::weight_gradient_transposed(cores, &im2col, [&x, &dy], &mut room, &mut dw);
            dw
        })
        .unwrap();
    }
}
