//! A network on the tape. Layers that are computed in one pass are found here; their names and
//! numbers stay those of the layers.

use crate::Network;
use crate::network::{Node, Step};
use autograd::{Tape, Var};
use kernels::{Activation, Window};

impl Network {
    /// The logits of a batch of images.
    ///
    /// # Panics
    /// If the images have another shape than the network's input.
    pub fn forward(&self, tape: &mut Tape<'_>, images: Var) -> Var {
        let [channels, height, width] = self.input();
        let value = tape.value(images);
        assert_eq!((value.channels(), value.size()), (channels, [height, width]), "input images");
        sequence(&self.nodes, tape, images)
    }
}

/// Runs layer after layer. Their outputs are done with when the next one has read them, but not `input`.
fn sequence(nodes: &[Node], tape: &mut Tape<'_>, input: Var) -> Var {
    let (mut x, mut rest) = (input, nodes);
    while let [node, after @ ..] = rest {
        tape.set_layer(node.number);
        let (y, fused) = layer(node, after, tape, x);
        if x != input && x != y {
            tape.done(x);
        }
        x = y;
        rest = &after[fused..];
    }
    x
}

/// Runs a layer; returns its output and how many of the layers after it were run with it.
fn layer(node: &Node, after: &[Node], tape: &mut Tape<'_>, x: Var) -> (Var, usize) {
    let relu = activates(after);
    match (&node.step, after) {
        // In evaluation the statistics are constants and go into the weights, unless batch norm and
        // max-pool are one pass.
        (
            Step::Conv2d { weight, bias, window },
            [Node { step: Step::BatchNorm2d(norm), .. }, after @ ..],
        ) if !(tape.is_training() || activates(after) && halves(after, tape, x, window)) => {
            let relu = activates(after);
            let y = tape.conv2d_batch_norm2d(x, *weight, *bias, *window, *norm, relu);
            return (y, 1 + usize::from(relu));
        }
        _ => {}
    }
    match &node.step {
        Step::Conv2d { weight, bias, window } if relu && halves(after, tape, x, window) => {
            (tape.conv2d_relu_max_pool2d(x, *weight, *bias, *window), 2)
        }
        Step::Conv2d { weight, bias, window } => {
            (tape.conv2d(x, *weight, *bias, *window, relu), usize::from(relu))
        }
        Step::BatchNorm2d(norm) if relu && halves(after, tape, x, &Window::new([1, 1])) => {
            (tape.batch_norm2d_relu_max_pool2d(x, *norm), 2)
        }
        Step::BatchNorm2d(norm) => (tape.batch_norm2d(x, *norm, relu), usize::from(relu)),
        Step::Linear { weight, bias } => (tape.linear(x, *weight, *bias, relu), usize::from(relu)),
        Step::Activation(f) => (tape.activate(x, *f), 0),
        Step::MaxPool2d(window) => (tape.max_pool2d(x, *window), 0),
        Step::AvgPool2d(window) => (tape.avg_pool2d(x, *window), 0),
        Step::GlobalAvgPool2d => (tape.global_avg_pool2d(x), 0),
        Step::Dropout(p) => (tape.dropout(x, *p), 0),
        Step::Flatten => (tape.flatten(x), 0),
        Step::Residual { body, shortcut } => {
            let (body, shortcut) = (sequence(body, tape, x), sequence(shortcut, tape, x));
            tape.set_layer(node.number);
            let y = tape.add_relu(body, shortcut);
            for used in [body, shortcut].into_iter().filter(|used| *used != x) {
                tape.done(used);
            }
            (y, 0)
        }
    }
}

/// Whether the next layer is a ReLU.
fn activates(after: &[Node]) -> bool {
    matches!(after, [Node { step: Step::Activation(Activation::Relu), .. }, ..])
}

/// Whether the layer after next is the pooling that can be fused with the layer of this window.
fn halves(after: &[Node], tape: &Tape<'_>, x: Var, window: &Window) -> bool {
    let pool = Step::MaxPool2d(Window::new([2, 2]).stride(2));
    let size = window.output(tape.value(x).size());
    matches!(after, [_, next, ..] if next.step == pool) && size.is_some_and(|[h, w]| h > 1 && w > 1)
}
