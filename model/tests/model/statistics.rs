//! Training loops of one's own that treat running statistics wrongly are told so.

use autograd::{Buffer, Tape, Tensor, Workspace};
use kernels::Isa;
use model::tensors::{HASH, TensorFile, safetensors_bytes};
use model::*;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

const IMAGES: usize = 32;

fn example() -> Model {
    let block = layers![conv2d(4, 3).padding(1), batch_norm2d(), relu()];
    let network = layers![residual(block, vec![]), flatten(), linear(2)];
    let network = Network::new([4, 4, 4], &network).unwrap();
    Model {
        preset: CUSTOM.to_owned(),
        weights: network.initialise(1, Init::Pytorch),
        network,
        classes: ["a", "b"].map(str::to_owned).to_vec(),
        mean: vec![0.5],
        std: vec![0.5],
        multi_label: false,
        preparation: None,
    }
}

/// The logits of some images; their class is where they are bright.
fn logits(network: &Network, tape: &mut Tape<'_>) -> autograd::Var {
    let bright = |i: usize| if i / 64 % 2 == i / 32 % 2 { 1.0 } else { 0.0 };
    let images: Vec<f32> = (0..IMAGES * 64).map(bright).collect();
    let images = Tensor::from_rows(&images, IMAGES, 4, [4, 4]);
    let x = tape.input(IMAGES, 4, [4, 4], |x| x.data_mut().copy_from_slice(images.data()));
    network.forward(tape, x)
}

/// The obvious loop: every weight of the range descends what `backward` has found.
fn descend(model: &mut Model, range: Range<usize>) {
    let losses = descend_from(model, range, 5);
    assert!(losses[4] < losses[0], "it seems to learn: {losses:?}");
}

fn descend_from(model: &mut Model, range: Range<usize>, steps: usize) -> Vec<f64> {
    let labels: Vec<u32> = (0..IMAGES as u32).map(|i| i % 2).collect();
    let mut losses = vec![];
    for _ in 0..steps {
        let mut memory = Workspace::default();
        let mut tape = Tape::training(Isa::detect(), &mut memory, &model.weights, IMAGES);
        let y = logits(&model.network, &mut tape);
        let (loss, sums) = tape.softmax_cross_entropy(y, &labels, 0.0);
        let mut gradients = Buffer::zeros(model.network.len());
        tape.backward(loss, &mut gradients);
        for i in range.clone() {
            model.weights[i] -= 0.01 * gradients[i];
        }
        losses.push(sums.loss);
    }
    losses
}

/// What is said where the model classifies images, is saved, and is read: everywhere the same.
fn refusal(model: &Model) -> String {
    let forward = catch_unwind(AssertUnwindSafe(|| {
        let mut memory = Workspace::default();
        let mut tape = Tape::evaluation(Isa::detect(), &mut memory, &model.weights);
        logits(&model.network, &mut tape);
    }));
    let panic = *forward.expect_err("no logits").downcast::<String>().unwrap();
    for fold in [false, true] {
        assert_eq!(model.to_onnx(fold).unwrap_err().to_string(), panic);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let saved = model.save(&path).unwrap_err().to_string();
    assert!(saved.ends_with(&panic) && !path.exists(), "{saved}");
    panic
}

#[test]
fn statistics_that_descended_are_refused() {
    let mut model = example();
    let all = 0..model.network.len();
    descend(&mut model, all);
    let message = refusal(&model);
    assert!(
        message.starts_with("batch norm 0.body.1 has running statistics that were moved as if")
    );
    assert!(message.contains("trainer::Optimizer::step"), "{message}");
}

#[test]
fn statistics_that_stayed_are_refused() {
    let mut model = example();
    let trained = 0..model.network.trained_len();
    descend(&mut model, trained);
    let message = refusal(&model);
    assert!(message.starts_with("batch norm 0.body.1 has no running statistics yet"), "{message}");
    assert!(message.contains("trainer::Optimizer::step"), "{message}");
    // Not in training, which may move them.
    let mut memory = Workspace::default();
    logits(&model.network, &mut Tape::training(Isa::detect(), &mut memory, &model.weights, IMAGES));
    // In the file of another program.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let untrained = example();
    untrained.save(&path).unwrap();
    let mut metadata = TensorFile::read(&path).unwrap().metadata().clone();
    metadata.remove(HASH);
    let bytes = safetensors_bytes(&metadata, &model.network.entries(&model.weights, ""));
    std::fs::write(&path, bytes).unwrap();
    let read = Model::load(&path).unwrap_err().to_string();
    assert!(read.ends_with(&message) && read.contains("model.safetensors"), "{read}");
}

/// Scale and shift of the batch norm are frozen, so nothing in the weights tells that it was trained.
#[test]
fn statistics_that_stayed_are_refused_with_a_frozen_scale() {
    let mut model = example();
    let of = |role: Role| model.network.parameters().iter().find(move |p| p.role == role).unwrap();
    let frozen = [of(Role::Scale).place, of(Role::Shift).place];
    let before = frozen.map(|place| place.of(&model.weights).to_vec());
    let linear = model.network.parameters().iter().find(|p| p.name == "2.weight").unwrap().place;
    descend(&mut model, linear.offset..linear.offset + linear.len);
    assert_eq!(frozen.map(|place| place.of(&model.weights).to_vec()), before);
    assert_eq!(model.network.unmoved_statistics(&model.weights), Some("0.body.1"));
    let message = refusal(&model);
    assert!(message.starts_with("batch norm 0.body.1 has no running statistics yet"), "{message}");
}

/// One loop leaves running statistics out; weights that another initialisation gives have nothing to do with it.
#[test]
fn initial_weights_are_fresh_whatever_others_were() {
    let mut wrong = example();
    let trained = 0..wrong.network.trained_len();
    descend(&mut wrong, trained);
    refusal(&wrong);
    for seed in [1, 2] {
        let weights = wrong.network.initialise(seed, Init::Pytorch);
        let fresh = Model { network: wrong.network.clone(), weights, ..example() };
        evaluate(&fresh);
        save(&fresh);
    }
    refusal(&wrong);
}

/// Blocks that begin as the identity, or scales that begin at random: fresh once they are noted as initial.
#[test]
fn an_initialisation_of_ones_own_is_fresh() {
    let mut model = example();
    let scale = model.network.parameters().iter().find(|p| p.role == Role::Scale).unwrap().place;
    scale.of_mut(&mut model.weights).fill(0.0);
    refusal(&model);
    model.network.note_initial(&model.weights);
    evaluate(&model);
    save(&model);
    // Its file says so, and others say nothing of it.
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("model.safetensors");
    model.save(&path).unwrap();
    assert!(!example().metadata().contains_key("untrained"));
    evaluate(&Model::load(&path).unwrap());
    // Trained without running statistics it is refused as any other.
    let trained = 0..model.network.trained_len();
    descend(&mut model, trained);
    refusal(&model);
}

/// Two seeds of one network, each trained rightly, first one step of each.
#[test]
fn seeds_of_one_network_are_trained_side_by_side() {
    let first = example();
    let of_seed = |seed| {
        let weights = first.network.initialise(seed, Init::Pytorch);
        Model { network: first.network.clone(), weights, ..example() }
    };
    let mut seeds = [2, 3].map(of_seed);
    for _ in 0..2 {
        seeds.iter_mut().for_each(step);
    }
    let fresh = [of_seed(4), of_seed(2)];
    for model in seeds.iter().chain(&fresh) {
        evaluate(model);
        save(model);
    }
}

/// A step that moves running statistics too.
fn step(model: &mut Model) {
    let trained = 0..model.network.trained_len();
    descend_from(model, trained, 1);
    for parameter in model.network.parameters() {
        let values = parameter.place.of_mut(&mut model.weights);
        match parameter.role {
            Role::RunningMean => values.iter_mut().for_each(|mean| *mean += 0.1),
            Role::BatchesTracked => values[0] += 1.0,
            _ => {}
        }
    }
}

fn evaluate(model: &Model) {
    let mut memory = Workspace::default();
    let mut tape = Tape::evaluation(Isa::detect(), &mut memory, &model.weights);
    let y = logits(&model.network, &mut tape);
    assert!(tape.value(y).to_rows().iter().all(|logit| logit.is_finite()));
}

fn save(model: &Model) {
    let folder = tempfile::tempdir().unwrap();
    model.save(&folder.path().join("model.safetensors")).unwrap();
}

/// Nothing is expected of a network that has not been trained, nor a count of statistics that have moved.
#[test]
fn others_are_not() {
    let mut model = example();
    evaluate(&model);
    // Gradients of the weights that it begins with, as often as one likes.
    for _ in 0..3 {
        descend_from(&mut model.clone(), 0..0, 5);
    }
    evaluate(&model);
    assert_eq!(model.network.unmoved_statistics(&model.weights), Some("0.body.1"));
    let trained = 0..model.network.trained_len();
    descend(&mut model, trained);
    let means = model.network.parameters().iter().find(|p| p.role == Role::RunningMean).unwrap();
    means.place.of_mut(&mut model.weights)[0] = 0.1;
    assert_eq!(model.network.unmoved_statistics(&model.weights), None);
    evaluate(&model);
}
