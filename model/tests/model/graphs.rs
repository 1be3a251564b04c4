//! Networks that are graphs: what joins layers, what is used again, and what is wrong with names.

use crate::networks::{Example, example};
use model::*;

/// Each kind of join, and layers that are read by several.
pub fn examples() -> Vec<Example> {
    let squeezed = layers![
        conv2d(5, 3).padding(1).named("body"),
        batch_norm2d(),
        relu().named("planes"),
        global_avg_pool2d(),
        conv2d(2, 1).named("squeeze"),
        relu(),
        conv2d(5, 1).named("excite"),
        gelu().named("gate"),
        multiply().taking(["planes", "gate"]),
        conv2d(3, 3),
        flatten(),
        linear(3),
    ];
    let dense = layers![
        conv2d(3, 3).padding(1).named("0.conv"),
        relu(),
        conv2d(2, 3).padding(1).named("1.conv"),
        relu(),
        concat().taking(["input", "1", "3"]),
        batch_norm2d(),
        relu(),
        max_pool2d(2),
        concat().taking(["7", "7"]),
        flatten(),
        linear(4),
    ];
    let sums = layers![
        conv2d(4, 3).named("a"),
        conv2d(4, 3).taking(["input"]).named("b"),
        batch_norm2d(),
        add().taking(["a", "2", "b"]),
        relu().named("sum"),
        leaky_relu(0.2).taking(["a"]),
        add().taking(["sum", "5"]),
        add().taking(["6", "6"]),
        multiply().taking(["7", "sum"]),
        avg_pool2d(2),
        flatten(),
        linear(3),
    ];
    let shared = layers![
        conv2d(3, 3).padding(1).named("conv"),
        relu(),
        again("conv"),
        gelu(),
        max_pool2d(2).named("pool"),
        again("conv"),
        relu(),
        again("pool"),
        flatten(),
        linear(5).named("fc"),
        gelu(),
        linear(5),
        relu(),
        dropout(0.3),
        linear(3),
    ];
    let norms = layers![
        conv2d(3, 3).padding(1).named("conv"),
        batch_norm2d().momentum(0.3).named("norm"),
        relu(),
        again("conv"),
        again("norm"),
        max_pool2d(2),
        again("conv"),
        again("norm"),
        relu(),
        flatten(),
        linear(3)
    ];
    let block = residual(
        layers![conv2d(2, 3).padding(1).named("c"), relu(), add().taking(["input", "1"])],
        layers![conv2d(2, 1), multiply().taking(["input", "0"])],
    );
    let blocks = layers![
        block,
        batch_norm2d().taking(["0"]),
        add().taking(["1", "input"]),
        relu(),
        max_pool2d(2),
        flatten(),
        linear(3)
    ];
    vec![
        example("squeeze and excitation", [2, 5, 6], squeezed),
        example("concatenation", [2, 4, 6], dense),
        example("sums", [3, 6, 6], sums),
        example("shared layers", [3, 8, 8], shared),
        example("shared batch norm", [3, 6, 6], norms),
        example("graphs in blocks", [2, 4, 5], blocks),
    ]
}

fn refused(input: [usize; 3], layers: &[Layer]) -> String {
    Network::new(input, layers).expect_err("a network that is wrong").to_string()
}

#[test]
fn mistakes_in_graphs_are_named() {
    let with = |layers: Vec<Layer>| [layers, layers![flatten(), linear(2)]].concat();
    for (layers, message) in [
        (
            with(layers![conv2d(2, 1).named("stem"), relu().taking(["stme"])]),
            "layer 1 (ReLU): there is no layer `stme` before it; did you mean `stem`?",
        ),
        (
            with(layers![relu().taking(["later"]), relu().named("later")]),
            "layer 0 (ReLU): `later` comes later: a layer takes in what comes before it",
        ),
        (
            with(layers![relu(), add().taking(["0", "1"])]),
            "layer 1 (addition): `1` is this layer itself: a layer takes in what comes before it",
        ),
        (
            with(layers![relu(), gelu().taking(["input"]), gelu().taking(["0"])]),
            "layer 1 (GELU): no layer takes in what it gives, and it is not the last; its input is \
             input of 3×4×4 (channels × rows × columns)",
        ),
        (
            with(layers![relu(), add()]),
            "layer 1 (addition): it takes 2 inputs or more, which `from` names; its input is 3×4×4 \
             (channels × rows × columns)",
        ),
        (
            with(layers![relu(), gelu(), multiply().taking(["0", "1", "0"])]),
            "layer 2 (product): it takes 2 inputs, which `from` names; its inputs are 0 of 3×4×4, \
             1 of 3×4×4 and 0 of 3×4×4 (channels × rows × columns)",
        ),
        (
            with(layers![relu(), gelu().taking(["0", "input"])]),
            "layer 1 (GELU): it takes one input; its inputs are 0 of 3×4×4 and input of 3×4×4 \
             (channels × rows × columns)",
        ),
        (
            with(layers![conv2d(2, 1).named("a"), add().taking(["a", "input"])]),
            "layer 1 (addition): all inputs must have one shape; its inputs are a of 2×4×4 and \
             input of 3×4×4 (channels × rows × columns)",
        ),
        (
            with(layers![max_pool2d(2), concat().taking(["0", "input"])]),
            "layer 1 (concatenation): all inputs must have as many rows and columns; its inputs",
        ),
        (
            with(layers![conv2d(2, 4), multiply().taking(["0", "input"])]),
            "layer 1 (product): its inputs must have one shape, or one of them a value for each \
             plane of the other; its inputs are 0 of 2×1×1 and input of 3×4×4",
        ),
        (
            with(layers![relu().named("input"), gelu().taking(["input"])]),
            "layer 1 (GELU): `input` is what its list of layers takes in, and a layer has this \
             name: give the layer another",
        ),
        (
            with(layers![conv2d(2, 1).named("a"), again("a")]),
            "layer 1 (convolution 1×1, that of a): the weights of layer a are for other inputs; its input is 2×4×4",
        ),
        (with(vec![again("b")]), "layer 0 (b again): there is no layer `b` before it"),
        (
            with(layers![global_avg_pool2d(), instance_norm()]),
            "layer 1 (instance norm): one pixel is its own mean and has no deviation: expected more pixels; its input \
             is 3×1×1",
        ),
        (with(layers![group_norm(2)]), "layer 0 (group norm, 2 groups): 2 groups do not divide 3"),
        (
            with(layers![residual(vec![relu()], vec![]).named("r"), again("r")]),
            "layer 1 (r again): layer r is a block, and only a layer can be used again",
        ),
        (
            with(layers![
                relu().named("a.b"),
                residual(vec![relu().named("b")], vec![]).named("x"),
                relu().named("x.body.b")
            ]),
            "layer x.body.b (ReLU): another layer has this name",
        ),
    ] {
        let found = refused([3, 4, 4], &layers);
        assert!(found.starts_with(message), "{found}\ninstead of\n{message}");
    }
    // A layer may be called `input` as long as no other means the images by it.
    Network::new([3, 4, 4], &with(layers![relu().named("input")])).unwrap();
}

#[test]
fn names_with_dots_are_those_of_parameters() {
    let layers = layers![
        conv2d(2, 1).named("layer1.0.conv1"),
        batch_norm2d().named("layer1.0.bn1"),
        again("layer1.0.conv1"),
        flatten(),
        linear(2).named("classifier.1"),
    ];
    let network = Network::new([2, 2, 2], &layers).unwrap();
    let names: Vec<&str> = network.parameters().iter().map(|p| &*p.name).collect();
    let norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"];
    let norm = norm.map(|part| format!("layer1.0.bn1.{part}"));
    let mut expected = vec!["layer1.0.conv1.weight", "layer1.0.conv1.bias"];
    expected.extend(norm.iter().map(|name| &**name));
    expected.extend(["classifier.1.weight", "classifier.1.bias"]);
    assert_eq!(names, expected);
}

#[test]
fn the_table_of_a_graph() {
    let layers = layers![
        conv2d(4, 3).padding(1).named("conv"),
        global_avg_pool2d(),
        linear(4).named("gate"),
        multiply().taking(["conv", "gate"]),
        again("conv").taking(["input"]),
        concat().taking(["3", "4"]),
        flatten(),
        linear(2),
    ];
    let table = Network::new([1, 4, 5], &layers).unwrap().describe();
    let expected = "\
layer  kind                                      takes       output  parameters  MFLOP/image
       input                                                  1×4×5
conv   convolution 3×3, padding 1                             4×4×5          40        0.001
1      global average pool                                        4
gate   linear                                                     4          20        0.000
3      product                                   conv, gate   4×4×5
4      convolution 3×3, padding 1, that of conv  input        4×4×5                    0.001
5      concatenation                             3, 4         8×4×5
6      flatten                                                  160
7      linear                                                     2         322        0.001
total                                                                       382        0.003";
    assert!(table.starts_with(expected), "{table}");
}

/// A list of some bytes may double its channels with each line, or its work.
#[test]
fn graphs_that_double_are_refused() {
    let doubled = |join: fn() -> Layer| {
        let mut layers = layers![relu()];
        for i in 0..40 {
            let before = i.to_string();
            layers.push(join().taking([&*before, &*before]));
        }
        layers.extend(layers![flatten(), linear(2)]);
        layers
    };
    let error = refused([1, 8, 8], &doubled(concat));
    assert!(error.contains("too large") || error.contains("MiB of memory"), "{error}");
    // Sums cost no more than their layers.
    Network::new([1, 8, 8], &doubled(add)).unwrap();
}

/// A layer of a block is known by its whole name outside.
#[test]
fn layers_of_blocks_have_names() {
    let block = residual(layers![conv2d(2, 1).named("c"), relu()], vec![]).named("r");
    let layers = layers![block, add().taking(["r", "r.body.c"]), flatten(), linear(2)];
    let network = Network::new([2, 3, 3], &layers).unwrap();
    assert_eq!(network.parameters()[0].name, "r.body.c.weight");
    let inside = residual(vec![relu().taking(["outside"])], vec![]);
    let layers = layers![relu().named("outside"), inside, flatten(), linear(2)];
    let error = refused([2, 3, 3], &layers);
    assert!(error.starts_with("layer 1.body.0 (ReLU): there is no layer `outside`"), "{error}");
}
