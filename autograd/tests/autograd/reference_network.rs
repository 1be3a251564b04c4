//! Central differences prove that the reference operations compose: the gradients of a whole small
//! network (convolution, batch norm, ReLU, max-pool, linear, cross-entropy), backwards by hand.

use autograd::{Check, GradientError};
use kernels::Window;
use proptest::prelude::*;
use reference::*;

const EPSILON: f64 = 1e-5;
const CLASSES: usize = 4;
const SMOOTHING: f64 = 0.1;

struct Network {
    conv: Conv,
    pool: Window,
    linear: Linear,
    labels: Vec<usize>,
    images: Vec<f64>,
}

/// What the backward pass needs of the forward pass.
struct Forward {
    convolved: Vec<f64>,
    normalised: Vec<f64>,
    rectified: Vec<f64>,
    pooled: Vec<f64>,
    logits: Vec<f64>,
}

impl Network {
    fn new(images: usize, channels: usize, seed: u64) -> Network {
        let window = Window::new([3, 3]).padding(1).stride(2);
        let conv =
            Conv { images, inputs: 2, outputs: channels, size: [9, 7], options: window.into() };
        let pool = Window::new([2, 2]);
        let inputs = channels * conv.output().through(&pool).pixels();
        let linear = Linear { images, inputs, outputs: CLASSES };
        let labels = (0..images).map(|i| (seed as usize + i) % CLASSES).collect();
        Network { conv, pool, linear, labels, images: uniform(conv.input().len(), seed) }
    }

    /// Convolution's weights; batch norm's gamma and beta; the linear layer's weights and bias.
    fn parameters(&self) -> [usize; 5] {
        let Network { conv, linear, .. } = self;
        [conv.weights(), conv.outputs, conv.outputs, linear.inputs * CLASSES, CLASSES]
    }

    fn cut<'a>(&self, mut parameters: &'a [f64]) -> [&'a [f64]; 5] {
        self.parameters().map(|len| {
            let (head, tail) = parameters.split_at(len);
            parameters = tail;
            head
        })
    }

    fn forward(&self, parameters: &[f64]) -> Forward {
        let [w, gamma, beta, weights, bias] = self.cut(parameters);
        let planes = self.conv.output();
        let convolved = conv2d(&self.conv, &self.images, w, None);
        let normalised = batch_norm2d(&planes, &convolved, gamma, beta, EPSILON).y;
        let rectified = relu(&normalised);
        let pooled = max_pool2d(&planes, self.pool, &rectified);
        let logits = linear(&self.linear, &pooled, weights, Some(bias));
        Forward { convolved, normalised, rectified, pooled, logits }
    }

    fn loss(&self, parameters: &[f64]) -> f64 {
        let logits = self.forward(parameters).logits;
        softmax_cross_entropy(&logits, &self.labels, CLASSES, SMOOTHING)
    }

    fn gradient(&self, parameters: &[f64]) -> Vec<f64> {
        let [w, gamma, _, weights, _] = self.cut(parameters);
        let planes = self.conv.output();
        let f = self.forward(parameters);
        let dy = softmax_cross_entropy_backward(&f.logits, &self.labels, CLASSES, SMOOTHING);
        let last = linear_backward(&self.linear, &f.pooled, weights, &dy);
        let dy = max_pool2d_backward(&planes, self.pool, &f.rectified, &last.dx);
        let dy = relu_backward(&f.normalised, &dy);
        let norm = batch_norm2d_backward(&planes, &f.convolved, gamma, EPSILON, &dy);
        let first = conv2d_backward(&self.conv, &self.images, w, &norm.dx);
        [first.dw, norm.dgamma, norm.dbeta, last.dw, last.db].concat()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn gradients_of_a_small_network(
        images in 2..=4usize,
        channels in 1..=3usize,
        seed in any::<u64>(),
    ) {
        let network = Network::new(images, channels, seed);
        let parameters: Vec<f64> = uniform(network.parameters().iter().sum(), seed ^ 1);
        let gradient = network.gradient(&parameters);
        let check = Check { directions: 4, seed, ..Check::default() };
        match check.run(|parameters| network.loss(parameters), &parameters, &gradient) {
            // One unit within a step of its kink is a kink of every weight that feeds it: a case in
            // hundreds, and another is drawn.
            Err(GradientError::Kinks { .. }) => prop_assume!(false),
            proved => proved?,
        }
    }
}
