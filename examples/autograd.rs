//! Two expressions differentiated on the tape, with what calculus says beside it.
//!
//! ```text
//! cargo run --release --example autograd
//! ```

use bobbin::autograd::{Param, Tape, Tensor, Workspace};
use bobbin::kernels::Isa;

/// A name, the values on the tape, and the values by hand.
pub type Row = (&'static str, Vec<f32>, Vec<f32>);

/// f = Σ (ab + a)², element by element: ∂f/∂a = 2(ab + a)(b + 1) and ∂f/∂b = 2(ab + a)a.
pub fn variables() -> Vec<Row> {
    let (a, b) = ([1.0, 2.0, -3.0], [0.5, -1.5, 4.0]);

    let mut memory = Workspace::default();
    let mut tape = Tape::training(Isa::detect(), &mut memory, &[], 1);
    let x = tape.variable(&Tensor::vectors(&[a]));
    let y = tape.variable(&Tensor::vectors(&[b]));
    let product = tape.mul(x, y);
    let root = tape.add(product, x);
    let square = tape.mul(root, root);
    let f = tape.sum(square);
    tape.backward(f, &mut []);

    let root: Vec<f32> = (0..3).map(|i| a[i] * b[i] + a[i]).collect();
    let gradient = |var| tape.gradient(var).unwrap().to_rows();
    vec![
        ("f", tape.value(f).to_rows(), vec![root.iter().map(|r| r * r).sum()]),
        ("∂f/∂a", gradient(x), (0..3).map(|i| 2.0 * root[i] * (b[i] + 1.0)).collect()),
        ("∂f/∂b", gradient(y), (0..3).map(|i| 2.0 * root[i] * a[i]).collect()),
    ]
}

/// g = Σ xW for a batch of two vectors and a 2×3 matrix of parameters: every column of ∂g/∂W is the
/// sum of the vectors, every row of ∂g/∂x the sums of the rows of W.
pub fn parameters() -> Vec<Row> {
    let (x, weights) = ([[1.0, 2.0], [3.0, -4.0]], [1.0, 0.5, -2.0, 3.0, 0.0, 1.0]);
    let w = Param { offset: 0, len: 6 };

    let mut memory = Workspace::default();
    let mut tape = Tape::training(Isa::detect(), &mut memory, &weights, 2);
    let x = tape.variable(&Tensor::vectors(&x));
    let product = tape.matmul(x, w);
    let g = tape.sum(product);
    let mut gradients = [0.0; 6];
    tape.backward(g, &mut gradients);

    vec![
        ("xW", tape.value(product).to_rows(), vec![7.0, 0.5, 0.0, -9.0, 1.5, -10.0]),
        ("∂g/∂W", w.of(&gradients).to_vec(), vec![4.0, 4.0, 4.0, -2.0, -2.0, -2.0]),
        ("∂g/∂x", tape.gradient(x).unwrap().to_rows(), vec![-0.5, 4.0, -0.5, 4.0]),
    ]
}

fn main() {
    for (name, tape, by_hand) in [variables(), parameters()].concat() {
        println!("{name}: tape {tape:?}, by hand {by_hand:?}");
    }
}
