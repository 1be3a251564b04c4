//! Weights to start from, and the last layer that is for other classes.

use crate::files::place;
use crate::state_dict::{Tensor, network, refused, saved_from_torch, with};
use model::tensors::*;
use model::*;

#[test]
fn fine_tuning_keeps_a_head_of_other_classes() {
    let (old, new) = (network("cnn-bn", 3), network("cnn-bn", 5));
    let (from, fresh) = (old.initialise(1, Init::Pytorch), new.initialise(2, Init::He));
    let tensors = saved_from_torch(&old, &from);
    let mut weights = fresh.clone();
    let tune = |tensors: &[Tensor], network: &Network, weights: &mut [f32]| {
        let classes: Vec<String> = (0..network.classes()).map(|i| format!("class {i}")).collect();
        with(tensors, |file| StateDict::of(file).fine_tune(network, weights, &classes))
    };
    let tuned = tune(&tensors, &new, &mut weights).unwrap();
    assert_eq!(tuned.fresh, ["9.weight", "9.bias"]);
    let line = "9.weight, 9.bias start at random: the file has 3 classes, the data have 5";
    assert_eq!(tuned.to_string(), line);
    for (parameter, source) in new.parameters().iter().zip(old.parameters()) {
        let expected = match &parameter.name[..] {
            "9.weight" | "9.bias" => parameter.place.of(&fresh),
            _ => source.place.of(&from),
        };
        assert_eq!(parameter.place.of(&weights), expected, "{}", parameter.name);
    }
    // With as many classes everything is taken, though the file does not say which they are.
    let mut weights = old.initialise(3, Init::He);
    let tuned = tune(&tensors, &old, &mut weights).unwrap();
    assert!(tuned.fresh.is_empty() && tuned.to_string().contains("does not name its classes"));
    assert_eq!(weights[..], from[..]);

    // Anything else is another network, of which nothing is taken.
    let mut weights = fresh.clone();
    let lenet = network("lenet", 5);
    let mut refuses = |tensors: &[Tensor], words: &[&str]| {
        refused(tune(tensors, &new, &mut weights), words);
        assert_eq!(weights[..], fresh[..]);
    };
    refuses(&saved_from_torch(&lenet, &lenet.initialise(1, Init::He)), &["`0.weight` is missing"]);
    let changed = |change: fn(&mut Tensor)| {
        let mut tensors = tensors.clone();
        change(tensors.iter_mut().find(|t| t.0 == "9.weight").unwrap());
        tensors
    };
    let narrow = changed(|t| (t.2, t.3) = (vec![5, 100], vec![0; 2000]));
    refuses(&narrow, &["`9.weight` has shape [5, 100]: expected [5, 1568]"]);
    refuses(&changed(|t| t.0 = "9.w".into()), &["`9.weight` is missing", "`9.w` is not"]);
}

/// A model's file names its classes: as many others, or the same in another order, are other classes.
#[test]
fn classes_are_compared_by_name() {
    let names = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let with_classes = |layers: &[Layer], classes: &str| {
        let network = Network::new([1, 6, 6], layers).unwrap();
        let weights = network.initialise(1, Init::Pytorch);
        let (classes, preset) = (names(classes), CUSTOM.into());
        let (mean, std, preparation) = (vec![0.0], vec![1.0], None);
        let multi_label = false;
        Model { preset, network, weights, classes, multi_label, mean, std, preparation }
    };
    let tune = |model: &Model, data: &str| {
        let (_directory, path) = place();
        model.save(&path).unwrap();
        let file = TensorFile::read(&path).unwrap();
        let mut weights = model.network.initialise(2, Init::Pytorch);
        let tuned = StateDict::of(&file).fine_tune(&model.network, &mut weights, &names(data));
        (tuned.unwrap(), weights)
    };
    let linear_head = layers![conv2d(4, 3), relu(), flatten(), linear(5), linear(3).named("head")];
    let convolution = layers![conv2d(4, 3), conv2d(3, 1).named("head"), global_avg_pool2d()];
    for layers in [linear_head, convolution] {
        let model = with_classes(&layers, "cat dog owl");
        let (tuned, weights) = tune(&model, "cat dog owl");
        assert_eq!((tuned, &weights[..]), (FineTuned::default(), &model.weights[..]));
        let fresh = model.network.initialise(2, Init::Pytorch);
        for (data, reason) in [
            ("cat fox owl", "class 1 is \"dog\" in the file and \"fox\" in the data"),
            ("0 1 2", "class 0 is \"cat\" in the file and \"0\" in the data"),
            (
                "dog cat owl",
                "class 0 is \"cat\" in the file and \"dog\" in the data (the same classes in another \
                 order)",
            ),
        ] {
            let (tuned, weights) = tune(&model, data);
            assert_eq!(tuned.fresh, ["head.weight", "head.bias"], "{data}");
            let line = format!("head.weight, head.bias start at random: {reason}");
            assert_eq!(tuned.to_string(), line);
            for parameter in model.network.parameters() {
                let from =
                    if parameter.name.starts_with("head.") { &fresh } else { &model.weights };
                assert_eq!(parameter.place.of(&weights), parameter.place.of(from), "{data}");
            }
        }
    }
    // The same network without a last layer of its own.
    let block = residual(vec![conv2d(3, 1).into()], vec![]);
    let model = with_classes(&layers![conv2d(3, 1), block, global_avg_pool2d()], "cat dog owl");
    let (tuned, weights) = tune(&model, "cat dog fox");
    assert!(tuned.fresh.is_empty() && weights[..] == model.weights[..]);
    assert!(tuned.to_string().ends_with("there is no last layer to start at random"), "{tuned}");
}

/// A convolution as the last layer with weights, as in SqueezeNet, is open for other classes: in words, and in the file
/// of a model.
#[test]
fn a_convolution_as_head_is_open() {
    let text = r#"[
        { "kind": "conv", "outputs": 4, "kernel": 3, "name": "features" },
        { "kind": "relu" },
        { "kind": "conv", "outputs": "classes", "kernel": 1, "name": "head" },
        { "kind": "global-avg-pool" },
        { "kind": "flatten" }
    ]"#;
    let list: LayerList = serde_json::from_str(text).unwrap();
    assert!(serde_json::to_string(&list).unwrap().contains(r#""outputs":"classes""#));
    let network = |classes: usize| Network::new([1, 6, 6], &list.layers(classes)).unwrap();
    let old = network(3);
    let classes = ["a", "b", "c"].map(str::to_owned).to_vec();
    let weights = old.initialise(1, Init::Pytorch);
    let (preset, mean, std) = (CUSTOM.into(), vec![0.0], vec![1.0]);
    let (multi_label, preparation) = (false, None);
    let model =
        Model { preset, network: old, weights, classes, multi_label, mean, std, preparation };
    let (_directory, path) = place();
    model.save(&path).unwrap();
    assert_eq!(Model::load(&path).unwrap().network.classes(), 3);
    // What the file says of its network is for any number of classes.
    let file = TensorFile::read(&path).unwrap();
    let architecture = Description::of(&file).unwrap().architecture;
    let new = Network::new([1, 6, 6], &architecture.layers.layers(5)).unwrap();
    assert_eq!(new.classes(), 5);
    let mut weights = new.initialise(2, Init::Pytorch);
    let fresh = weights.clone();
    let names: Vec<String> = (0..5).map(|class| class.to_string()).collect();
    let tuned = StateDict::of(&file).fine_tune(&new, &mut weights, &names).unwrap();
    assert_eq!(tuned.fresh, ["head.weight", "head.bias"]);
    let place = |network: &Network, name: &str| {
        network.parameters().iter().find(|p| p.name == name).unwrap().place
    };
    let (ours, theirs) = (place(&new, "features.weight"), place(&model.network, "features.weight"));
    assert_eq!(ours.of(&weights), theirs.of(&model.weights));
    let head = place(&new, "head.weight");
    assert_eq!(head.of(&weights), head.of(&fresh));
    // Weights alone say by their head how many classes they are for.
    let state = StateDict::of(&file);
    assert_eq!(state.classes(&architecture, [1, 6, 6]), Some(3));
}
