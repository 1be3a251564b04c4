//! Random graphs: what the tape computes of them is their definition in `f64`, and what a few images get is what
//! the tape gives.

use crate::few_images::check;
use crate::interpreter::{Batch, Interpreter};
use crate::networks::{distance, size_of_layer, train, weights};
use autograd::Check;
use kernels::Isa;
use model::*;
use proptest::prelude::*;
use reference::{norm, uniform, widen};

/// A layer to be: its kind, and three choices.
type Choice = (u8, u16, u16, usize);

fn choices() -> impl Strategy<Value = Vec<Choice>> {
    prop::collection::vec((0u8..14, any::<u16>(), any::<u16>(), 1..=5usize), 1..=9)
}

/// A graph that grows: the names and shapes of its values, and whether anything reads them.
struct Graph {
    layers: Vec<Layer>,
    values: Vec<(String, [usize; 3], bool)>,
    /// Convolutions that may be used again: their names and inputs.
    convolutions: Vec<(String, usize)>,
    smooth: bool,
}

impl Graph {
    /// The layers that the choices give on images of this shape; without kinks, if it is to be smooth.
    fn grown(input: [usize; 3], choices: &[Choice], smooth: bool) -> Vec<Layer> {
        let values = vec![("input".to_owned(), input, false)];
        let mut graph = Graph { layers: vec![], values, convolutions: vec![], smooth };
        choices.iter().for_each(|choice| graph.grow(*choice));
        graph.end()
    }

    fn grow(&mut self, (kind, first, second, n): Choice) {
        let x = usize::from(first) % self.values.len();
        let shape = self.values[x].1;
        let like = |same: &dyn Fn([usize; 3]) -> bool| -> Vec<usize> {
            (0..self.values.len()).filter(|i| same(self.values[*i].1)).collect()
        };
        let alike = like(&|other| other == shape);
        let beside = like(&|other| other[1..] == shape[1..]);
        let pick = |from: &[usize], i: usize| from[(usize::from(second) + i) % from.len()];
        match kind {
            0 | 1 => self.convolution(x, n, 3),
            2 => self.convolution(x, n, 1),
            3 => self.add(batch_norm2d().into(), &[x]),
            4 => self.activation(x, second),
            5 => self.add(add(), &[x, pick(&alike, 0)]),
            6 => self.add(add(), &[x, pick(&alike, 0), pick(&alike, 1)]),
            7 => self.add(multiply(), &[x, pick(&alike, 1)]),
            8 if shape[0] <= 8 => self.add(concat(), &[x, pick(&beside, 0), pick(&beside, 2)]),
            9 if shape[1] > 2 && shape[2] > 2 => self.add(avg_pool2d(2).into(), &[x]),
            10 => self.excitation(x, n),
            11 => self.again(x, second),
            12 => self.block(x),
            13 => self.add(conv2d(shape[0], 1 + n / 2).groups(shape[0]).same().into(), &[x]),
            _ => self.add(dropout(0.3), &[x]),
        }
    }

    /// Adds a layer that reads these values.
    fn add(&mut self, layer: Layer, from: &[usize]) {
        let name = layer.name.clone().unwrap_or(format!("g{}.v", self.layers.len()));
        let names: Vec<String> = from.iter().map(|i| self.values[*i].0.clone()).collect();
        self.layers.push(layer.named(&name).taking(names.iter().map(|name| &**name)));
        from.iter().for_each(|i| self.values[*i].2 = true);
        let shape = self.shape();
        self.values.push((name, shape, false));
    }

    /// The shape of what the last layer gives.
    fn shape(&self) -> [usize; 3] {
        let (layer, from) = (self.layers.last().unwrap(), &self.layers.last().unwrap().from);
        let shapes: Vec<[usize; 3]> = from.iter().map(|name| self.of(name)).collect();
        let [channels, height, width] = shapes[0];
        match &layer.kind {
            Kind::Conv2d(conv) => [conv.outputs, height, width],
            Kind::AvgPool2d(_) => [channels, height / 2, width / 2],
            Kind::GlobalAvgPool2d(_) => [channels, 1, 1],
            Kind::Concat(_) => [shapes.iter().map(|s| s[0]).sum(), height, width],
            Kind::Again(again) => [self.of(&again.layer)[0], height, width],
            _ => shapes[0],
        }
    }

    fn of(&self, name: &str) -> [usize; 3] {
        self.values.iter().find(|(own, ..)| own == name).unwrap().1
    }

    fn convolution(&mut self, x: usize, outputs: usize, kernel: usize) {
        self.convolutions.push((format!("g{}.v", self.layers.len()), self.values[x].1[0]));
        self.add(conv2d(outputs, kernel).padding(kernel / 2).into(), &[x]);
    }

    fn activation(&mut self, x: usize, which: u16) {
        let f = if self.smooth || which.is_multiple_of(2) { gelu() } else { relu() };
        self.add(f, &[x]);
    }

    /// Planes times what their means give.
    fn excitation(&mut self, x: usize, n: usize) {
        let first = self.values.len();
        self.add(global_avg_pool2d(), &[x]);
        self.add(conv2d(n, 1).into(), &[first]);
        self.add(gelu(), &[first + 1]);
        self.add(conv2d(self.values[x].1[0], 1).into(), &[first + 2]);
        self.add(multiply(), &[x, first + 3]);
    }

    fn again(&mut self, x: usize, which: u16) {
        let channels = self.values[x].1[0];
        let fits = self.convolutions.iter().filter(|(_, inputs)| *inputs == channels);
        let fits: Vec<String> = fits.map(|(name, _)| name.clone()).collect();
        if !fits.is_empty() {
            self.add(again(&fits[usize::from(which) % fits.len()]), &[x]);
        }
    }

    fn block(&mut self, x: usize) {
        let channels = self.values[x].1[0];
        let body = layers![conv2d(channels, 3).padding(1).named("c"), batch_norm2d()];
        if !self.smooth {
            self.add(residual(body, vec![]), &[x]);
        }
    }

    /// What nobody reads yet is pooled, put side by side and mapped to three classes.
    fn end(mut self) -> Vec<Layer> {
        let ends: Vec<usize> = (0..self.values.len()).filter(|i| !self.values[*i].2).collect();
        let first = self.values.len();
        ends.iter().for_each(|end| self.add(global_avg_pool2d(), &[*end]));
        let pooled: Vec<usize> = (first..self.values.len()).collect();
        if pooled.len() > 1 {
            self.add(concat(), &pooled);
        }
        let mut layers = self.layers;
        layers.extend(layers![linear(3).named("head")]);
        layers
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn random_graphs_are_their_definition(
        choices in choices(),
        input in [1..=3usize, 3..=6usize, 3..=6usize],
        seed in 0..1000u64,
    ) {
        let layers = Graph::grown(input, &choices, true);
        let network = Network::new(input, &layers).unwrap();
        let weights = weights(&network, seed);
        let params = widen(&weights);
        let images = 21;
        let x: Vec<f32> = uniform(images * input.iter().product::<usize>(), seed + 7);
        let labels = (0..images).map(|i| i % 3).collect();
        let batch = Batch { images, x: widen(&x), labels, smoothing: 0.1, shard: 16, seed, epoch: 1 };
        let interpreter = Interpreter { network: &network, layers: &layers, params: &params };
        let exact = interpreter.step(&batch);
        for isa in Isa::available() {
            let (loss, logits, gradients) = train(isa, &network, &weights, &batch);
            prop_assert!((loss - exact.loss).abs() < 1e-4, "{}: {} {}", isa, loss, exact.loss);
            let error = distance(&logits, &exact.logits, norm(&exact.logits));
            prop_assert!(error < 1e-4, "{}: logits off by {:e}", isa, error);
            let whole = norm(&exact.gradients[..network.trained_len()]);
            for parameter in network.parameters() {
                let range = parameter.place.offset..parameter.place.offset + parameter.place.len;
                let size = size_of_layer(&network, parameter, &exact.gradients).max(1e-2 * whole);
                let error = distance(&gradients[range.clone()], &exact.gradients[range], size);
                prop_assert!(error < 1e-3, "{}: {} off by {:e}", isa, parameter.name, error);
            }
        }
        // The definition is proved by central differences.
        let (trained, statistics) = params.split_at(network.trained_len());
        let loss = |trained: &[f64]| {
            let params = [trained, statistics].concat();
            Interpreter { network: &network, layers: &layers, params: &params }.step(&batch).loss
        };
        let check = Check { coordinates: 6, directions: 2, kinks: 0, seed };
        let found = check.run(loss, trained, &exact.gradients[..network.trained_len()]);
        prop_assert!(found.is_ok(), "{:?}", found);
    }

    #[test]
    fn random_graphs_have_the_bits_of_the_tape(
        choices in choices(),
        input in [1..=20usize, 3..=9usize, 3..=9usize],
        (images, seed) in (1..=4usize, 0..1000u64),
    ) {
        let layers = Graph::grown(input, &choices, false);
        let network = Network::new(input, &layers).unwrap();
        let weights = weights(&network, seed);
        let x = uniform::<f32>(images * input.iter().product::<usize>(), seed + 1);
        check(&network, &weights, &x, images);
        // And a list that is written is the list that is read.
        let text = serde_json::to_string(&LayerList::from(&layers[..])).unwrap();
        let read: LayerList = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(read.layers(3), layers);
    }
}
