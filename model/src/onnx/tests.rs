use super::*;
use crate::*;
use std::collections::HashSet;

/// With statistics that are not those of the start.
fn model(input: [usize; 3], layers: &[Layer]) -> Model {
    let network = Network::new(input, layers).unwrap();
    let mut weights = network.initialise(3, Init::Pytorch);
    for parameter in network.parameters() {
        let values = parameter.place.of_mut(&mut weights);
        match parameter.role {
            Role::Scale => values.iter_mut().zip(2..).for_each(|(v, i)| *v = i as f32),
            Role::Shift => values.fill(0.5),
            Role::RunningMean => values.fill(-0.25),
            Role::RunningVariance => values.iter_mut().zip(1..).for_each(|(v, i)| *v = i as f32),
            _ => {}
        }
    }
    let classes = (0..network.classes()).map(|i| format!("class {i}")).collect();
    let (mean, std) = (vec![0.25], vec![0.5]);
    Model {
        preset: CUSTOM.into(),
        network,
        weights,
        classes,
        multi_label: false,
        mean,
        std,
        preparation: None,
    }
}

fn decoded(model: &Model, fold: bool) -> ModelProto {
    let bytes = model.to_onnx(fold).unwrap();
    assert!(bytes == model.to_onnx(fold).unwrap(), "the same model, other bytes");
    ModelProto::decode(&bytes[..]).unwrap()
}

fn graph(model: &Model, fold: bool) -> GraphProto {
    decoded(model, fold).graph.unwrap()
}

fn operations(graph: &GraphProto) -> Vec<&str> {
    graph.node.iter().map(|node| &*node.op_type).collect()
}

fn floats(graph: &GraphProto, name: &str) -> Vec<f32> {
    let tensor = graph.initializer.iter().find(|tensor| tensor.name == name).unwrap();
    tensor.raw_data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn every_node_reads_what_is_there_before_it() {
    let ends = || layers![flatten(), linear(4)];
    let block = residual(
        layers![conv2d(3, 3).padding(1), batch_norm2d(), gelu(), dropout(0.2)],
        layers![avg_pool2d(1).dilation(2)],
    );
    // Names that others might have.
    let names =
        layers![conv2d(3, 1).named("image"), relu().named("logits"), relu().named("normalize")];
    let vectors =
        layers![linear(6), batch_norm2d(), conv2d(5, 1), residual(vec![flatten()], vec![])];
    let mut cases = vec![
        ([3, 8, 8], [vec![block], names.to_vec(), ends()].concat()),
        ([7, 1, 1], vectors),
        ([4, 7, 6], all_kinds()),
        ([1, 4, 4], vec![flatten()]),
    ];
    // Of vgg11-bn the images are larger, and the weights have half a gigabyte.
    let presets = PRESETS.iter().filter(|(name, _)| *name != "vgg11-bn");
    cases.extend(presets.map(|(name, _)| ([1, 32, 32], preset(name, 10).unwrap())));
    for (input, layers) in cases {
        for fold in [false, true] {
            let model = model(input, &layers);
            let graph = graph(&model, fold);
            let constants = graph.initializer.iter().map(|tensor| &*tensor.name);
            let mut known: HashSet<&str> = HashSet::from(["image"]);
            for name in constants.chain(graph.node.iter().map(|node| &*node.output[0])) {
                assert!(known.insert(name), "two values {name}");
            }
            let mut produced: HashSet<&str> = HashSet::from(["image"]);
            produced.extend(graph.initializer.iter().map(|tensor| &*tensor.name));
            for node in &graph.node {
                let reads = node.input.iter().all(|input| produced.contains(&**input));
                assert!(reads, "{} reads {:?}", node.name, node.input);
                produced.insert(&node.output[0]);
            }
            assert_eq!(graph.node.last().unwrap().output, ["logits"]);
            for tensor in &graph.initializer {
                let (count, size) = (tensor.dims.iter().product::<i64>(), tensor.data_type());
                let size = if size == DataType::Int64 { 8 } else { 4 };
                assert_eq!(tensor.raw_data.len() as i64, count * size, "{}", tensor.name);
            }
        }
    }
}

/// What becomes several nodes, or nodes by its input.
fn all_kinds() -> Vec<Layer> {
    layers![
        group_norm(2),
        instance_norm(),
        layer_norm(),
        layer_norm().over_pixels(),
        batch_norm2d().affine(false),
        relu6(),
        silu(),
        gelu_tanh(),
        softplus(2.0),
        prelu().per_channel(),
        avg_pool2d(2).stride(2).padding(1).ceil(),
        conv2d(6, 3).groups(2).padding(2).reflect(),
        adaptive_max_pool2d([3, 2]),
        adaptive_avg_pool2d([2, 1]),
        flatten(),
        layer_norm(),
        prelu().per_channel(),
        log_softmax(),
    ]
}

#[test]
fn operators_and_what_is_said_of_them() {
    let layers = layers![
        conv2d(3, 3).stride(2),
        batch_norm2d(),
        leaky_relu(0.25),
        avg_pool2d(2).padding(1),
        dropout(0.5),
        global_avg_pool2d(),
        linear(2).no_bias(),
    ];
    let model = model([1, 9, 9], &layers);
    let file = decoded(&model, false);
    assert_eq!((file.ir_version, file.opset_import[0].version), (8, 17));
    let metadata = file.metadata_props.iter().map(|e| (e.key.clone(), e.value.clone())).collect();
    assert_eq!(model.metadata(), metadata);
    let graph = file.graph.unwrap();
    let expected = ["Sub", "Div", "Conv", "BatchNormalization", "LeakyRelu", "AveragePool"];
    let ends = ["GlobalAveragePool", "Flatten", "Gemm"];
    assert_eq!(operations(&graph), [&expected[..], &ends].concat());
    let attribute = |node: usize, name: &str| {
        let attributes = &graph.node[node].attribute;
        attributes.iter().find(|attribute| attribute.name == name).unwrap()
    };
    assert_eq!(attribute(2, "strides").ints, [2, 2]);
    assert_eq!(attribute(4, "alpha").f, 0.25);
    assert_eq!(attribute(5, "pads").ints, [1; 4]);
    assert_eq!(attribute(5, "count_include_pad").i, 1);
    assert_eq!(attribute(8, "transB").i, 1);
    assert_eq!((graph.node[2].input.len(), graph.node[8].input.len()), (3, 2));
    assert_eq!(floats(&graph, "normalize/sub/by"), [0.25]);
}

/// Mirrored padding is a node of its own, whatever is folded.
#[test]
fn groups_and_paddings() {
    let layers = layers![
        conv2d(4, [3, 2]).uneven_padding([0, 1], [2, 3]).groups(2),
        conv2d(8, 3).same().reflect().groups(4).no_bias().named("mirrored"),
        batch_norm2d(),
        conv2d(2, 2).same(),
        global_avg_pool2d(),
    ];
    let model = model([2, 9, 9], &layers);
    let graph = graph(&model, true);
    assert_eq!(
        operations(&graph)[2..],
        ["Conv", "Pad", "Conv", "Conv", "GlobalAveragePool", "Flatten"]
    );
    let attribute = |node: usize, name: &str| {
        let attributes = &graph.node[node].attribute;
        attributes.iter().find(|attribute| attribute.name == name).unwrap()
    };
    assert_eq!((attribute(2, "group").i, attribute(4, "group").i), (2, 4));
    assert_eq!(attribute(2, "kernel_shape").ints, [3, 2]);
    assert_eq!(attribute(2, "pads").ints, [0, 1, 2, 3]);
    assert_eq!(
        (&attribute(3, "mode").s[..], &*graph.node[3].name),
        (&b"reflect"[..], "mirrored/pad")
    );
    assert_eq!(attribute(4, "pads").ints, [0; 4]);
    assert_eq!(attribute(5, "pads").ints, [0, 0, 1, 1]);
    let pads =
        graph.initializer.iter().find(|tensor| tensor.name == graph.node[3].input[1]).unwrap();
    let pads: Vec<i64> =
        pads.raw_data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect();
    assert_eq!(pads, [0, 0, 1, 1, 0, 0, 1, 1]);
    assert_eq!(floats(&graph, "mirrored/folded.weight").len(), 8 * 9);
}

/// Used again, a layer has its own weights, whatever was put into those of another use, and slopes in the shape that
/// each use needs. A name with a dot is that of no other layer.
#[test]
fn layers_used_again_have_their_own_constants() {
    let layers = layers![
        conv2d(3, 1).named("a"),
        batch_norm2d(),
        prelu().per_channel().named("p"),
        again("a"),
        conv2d(3, 1).named("a.weight"),
        flatten(),
        linear(3),
        again("p"),
        linear(4),
    ];
    let model = model([3, 1, 1], &layers);
    let (plain, folded) = (graph(&model, false), graph(&model, true));
    let weights = |graph: &GraphProto, operation: &str| -> Vec<String> {
        let nodes = graph.node.iter().filter(|node| node.op_type == operation);
        nodes.map(|node| node.input[1].clone()).collect()
    };
    assert_eq!(weights(&plain, "Conv"), ["a.weight", "a.weight", "a.weight.weight"]);
    assert_eq!(weights(&folded, "Conv"), ["a/folded.weight", "a.weight", "a.weight.weight"]);
    assert_eq!(floats(&folded, "a.weight"), floats(&plain, "a.weight"));
    assert_ne!(floats(&folded, "a/folded.weight"), floats(&plain, "a.weight"));
    assert_ne!(floats(&plain, "a.weight.weight"), floats(&plain, "a.weight"));
    let slopes = weights(&plain, "PRelu");
    let dims = |name: &String| {
        plain.initializer.iter().find(|tensor| tensor.name == *name).unwrap().dims.clone()
    };
    assert_eq!(slopes.iter().map(dims).collect::<Vec<_>>(), [vec![3, 1, 1], vec![3]]);
}

#[test]
fn batch_norm_folds_into_the_layer_before_it() {
    let layers = layers![
        conv2d(2, 1).no_bias(),
        batch_norm2d(),
        batch_norm2d(),
        flatten(),
        linear(3),
        batch_norm2d().named("last"),
    ];
    let model = model([1, 1, 2], &layers);
    let (plain, folded) = (graph(&model, false), graph(&model, true));
    assert_eq!(
        operations(&folded)[2..],
        ["Conv", "BatchNormalization", "Flatten", "Gemm"],
        "the second of two stays"
    );
    for (layer, norm, start) in [("0", "1", vec![0.0; 2]), ("4", "last", floats(&plain, "4.bias"))]
    {
        let [weight, scale, shift, mean, variance] = [
            format!("{layer}.weight"),
            format!("{norm}.weight"),
            format!("{norm}.bias"),
            format!("{norm}.running_mean"),
            format!("{norm}.running_var"),
        ]
        .map(|name| floats(&plain, &name));
        let [weights, biases] =
            ["weight", "bias"].map(|p| floats(&folded, &format!("{layer}/folded.{p}")));
        let taps = weight.len() / scale.len();
        for o in 0..scale.len() {
            // Of an input of all ones, by the definition.
            let sum: f32 = weight[o * taps..][..taps].iter().sum::<f32>() + start[o];
            let expected = (sum - mean[o]) / (variance[o] + 1e-5).sqrt() * scale[o] + shift[o];
            let found = weights[o * taps..][..taps].iter().sum::<f32>() + biases[o];
            assert!((found - expected).abs() < 1e-5, "{layer}: {found}, not {expected}");
        }
    }
}
