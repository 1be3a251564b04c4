//! What the description of a network says of memory is what a tape takes.

use crate::networks::{all_examples, weights, wide_examples};
use autograd::{Buffer, Tape, Workspace};
use kernels::Isa;
use model::*;

/// Of sixteen images: the seed of the backward pass, and the loss; and what is rounded off of an image.
const ALLOWANCE: u64 = 2 * 16 * 4 + 16;

fn measured(network: &Network, is_training: bool) -> u64 {
    let weights = weights(network, 3);
    let mut workspace = Workspace::default();
    let [channels, rows, columns] = network.input();
    let mut gradients = Buffer::zeros(network.len());
    // A second step has room for all that it needs.
    let mut bytes = vec![];
    for _ in 0..3 {
        workspace.set_origin(1, 1, 0..16);
        workspace.set_frugal(is_large(network.input()));
        let isa = Isa::detect();
        let mut tape = match is_training {
            true => Tape::training(isa, &mut workspace, &weights, 16),
            false => Tape::evaluation(isa, &mut workspace, &weights),
        };
        let x = tape.input(16, channels, [rows, columns], |x| x.data_mut().fill(0.5));
        let y = network.forward(&mut tape, x);
        if is_training {
            let (loss, _) = tape.softmax_cross_entropy(y, &[0; 16], 0.0);
            tape.backward(loss, &mut gradients);
        }
        bytes.push(workspace.bytes() as u64);
    }
    assert!(bytes.iter().all(|all| *all == bytes[0]), "room from step to step: {bytes:?}");
    bytes[0]
}

fn check(name: &str, network: &Network) {
    for (is_training, said) in
        [(true, network.training_bytes()), (false, network.inference_bytes())]
    {
        let (found, said) = (measured(network, is_training), 16 * said);
        let differs = found.abs_diff(said) > ALLOWANCE;
        assert!(!differs, "{name}, training {is_training}: {found} bytes, not {said}");
    }
}

#[test]
fn memory_is_what_is_said() {
    for name in ["lenet", "lenet-li", "cnn-bn", "vgg", "resnet"] {
        check(name, &Network::new([1, 28, 28], &preset(name, 10).unwrap()).unwrap());
    }
    for example in all_examples().into_iter().chain(wide_examples()) {
        let network = Network::new(example.input, &example.layers).unwrap();
        check(example.name, &network);
    }
    // So large that gradients take the room of values.
    let stage = |channels| layers![conv2d(channels, 3).padding(1), batch_norm2d(), relu()];
    let layers = [
        stage(4),
        stage(4),
        layers![add().taking(["2", "5"]), relu(), max_pool2d(4).stride(3)],
        stage(4),
        layers![global_avg_pool2d(), flatten(), linear(2)],
    ];
    check("large", &Network::new([1, 130, 130], &layers.concat()).unwrap());
}
