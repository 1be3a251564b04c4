use super::LayerList;
use crate::*;
use kernels::Window;
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Section {
    layers: LayerList,
}

fn read(layers: &str) -> Result<Vec<Layer>, String> {
    let section: Result<Section, toml::de::Error> = toml::from_str(&format!("layers = {layers}"));
    section.map(|section| section.layers.layers(7)).map_err(|error| error.message().to_owned())
}

/// One of everything, with names, and with numbers that are not the defaults.
fn everything() -> Vec<Layer> {
    let uneven = Window { kernel: [3, 1], stride: [2, 1], padding: [0, 1], dilation: [1, 2] };
    layers![
        conv2d(16, 5).padding(2).named("conv1"),
        Conv2d { options: uneven.into(), bias: false, ..conv2d(8, 1) },
        batch_norm2d(),
        relu(),
        leaky_relu(0.1),
        gelu(),
        max_pool2d(3).stride(2).padding(1),
        avg_pool2d(2),
        residual(layers![conv2d(8, 1), residual(vec![dropout(0.3)], vec![relu()])], vec![]),
        dropout(0.25),
        global_avg_pool2d(),
        flatten(),
        linear(12).no_bias().named("fc"),
        linear(7),
    ]
}

/// The same of what came later.
fn more() -> Vec<Layer> {
    layers![
        batch_norm2d().eps(1e-3).momentum(0.01).affine(false),
        group_norm(4),
        layer_norm().named("norm"),
        layer_norm().over_pixels().eps(1e-6).affine(false),
        instance_norm(),
        instance_norm().affine(true),
        relu6(),
        hardsigmoid(),
        hardswish(),
        sigmoid(),
        tanh(),
        silu(),
        gelu_tanh(),
        elu(1.0),
        elu(0.5),
        softplus(2.0),
        prelu(),
        prelu().per_channel().named("act"),
        max_pool2d(3).stride(2).ceil(),
        avg_pool2d(2).uncounted_padding(),
        adaptive_max_pool2d([3, 2]),
        adaptive_avg_pool2d([7, 7]),
        dropout2d(0.1),
        stochastic_depth(0.2),
        softmax(),
        log_softmax(),
        conv2d(8, [3, 1]).stride([2, 1]).padding([1, 0]).groups(4),
        conv2d(8, 3).same().dilation(2).reflect(),
        conv2d(8, 3).uneven_padding([0, 2], [1, 3]).groups(8).no_bias(),
    ]
}

#[test]
fn what_a_recipe_says_of_later_kinds() {
    let layers = read(
        r#"[
            { kind = "batch-norm", eps = 1e-3, momentum = 0.01, affine = false },
            { kind = "group-norm", groups = 4 },
            { kind = "layer-norm", name = "norm" },
            { kind = "layer-norm", pixels = true, eps = 1e-6, affine = false },
            { kind = "instance-norm" },
            { kind = "instance-norm", affine = true },
            { kind = "relu6" },
            { kind = "hardsigmoid" },
            { kind = "hardswish" },
            { kind = "sigmoid" },
            { kind = "tanh" },
            { kind = "silu" },
            { kind = "gelu", approximate = "tanh" },
            { kind = "elu" },
            { kind = "elu", alpha = 0.5 },
            { kind = "softplus", beta = 2 },
            { kind = "prelu" },
            { kind = "prelu", per_channel = true, name = "act" },
            { kind = "max-pool", kernel = 3, stride = 2, ceil_mode = true },
            { kind = "avg-pool", kernel = 2, count_include_pad = false },
            { kind = "adaptive-max-pool", size = [3, 2] },
            { kind = "adaptive-avg-pool", size = 7 },
            { kind = "dropout2d", p = 0.1 },
            { kind = "stochastic-depth" },
            { kind = "softmax" },
            { kind = "log-softmax" },
            { kind = "conv", outputs = 8, kernel = [3, 1], stride = [2, 1], padding = [1, 0], groups = 4 },
            { kind = "conv", outputs = 8, kernel = 3, padding = "same", padding_mode = "reflect", dilation = 2 },
            { kind = "conv", outputs = 8, kernel = 3, padding = [0, 1, 2, 3], padding_mode = "zeros", groups = 8,
              bias = false },
        ]"#,
    );
    assert_eq!(layers.unwrap(), more());
    let section = Section { layers: LayerList::from(&more()[..]) };
    let text = toml::to_string(&section).unwrap();
    assert_eq!(toml::from_str::<Section>(&text).unwrap(), section, "{text}");
    let text = serde_json::to_string(&section).unwrap();
    for part in [
        r#"{"kind":"batch-norm","eps":0.001,"momentum":0.01,"affine":false}"#,
        r#"{"kind":"layer-norm","name":"norm"}"#,
        r#"{"kind":"gelu","approximate":"tanh"}"#,
        r#"{"kind":"elu"},{"kind":"elu","alpha":0.5}"#,
        r#"{"kind":"max-pool","kernel":3,"stride":2,"ceil_mode":true}"#,
        r#"{"kind":"adaptive-avg-pool","size":7}"#,
        r#"{"kind":"conv","outputs":8,"kernel":3,"padding":"same","padding_mode":"reflect","dilation":2}"#,
        r#"{"kind":"conv","outputs":8,"kernel":3,"padding":[0,1,2,3],"groups":8,"bias":false}"#,
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn what_a_recipe_says() {
    let layers = read(
        r#"[
            { kind = "conv", outputs = 16, kernel = 5, padding = 2, name = "conv1" },
            { kind = "conv", outputs = 8, kernel = [3, 1], stride = [2, 1], padding = [0, 1],
              dilation = [1, 2], bias = false },
            { kind = "batch-norm" },
            { kind = "relu" },
            { kind = "leaky-relu", slope = 0.1 },
            { kind = "gelu" },
            { kind = "max-pool", kernel = 3, stride = 2, padding = 1 },
            { kind = "avg-pool", kernel = 2 },
            { kind = "residual", body = [
                { kind = "conv", outputs = 8, kernel = 1, stride = 1, dilation = 1, bias = true },
                { kind = "residual", body = [{ kind = "dropout", p = 0.3 }],
                  shortcut = [{ kind = "relu" }] },
            ] },
            { kind = "dropout", p = 0.25 },
            { kind = "global-avg-pool" },
            { kind = "flatten" },
            { kind = "linear", outputs = 12, bias = false, name = "fc" },
            { kind = "linear" },
        ]"#,
    );
    assert_eq!(layers.unwrap(), everything());
    let defaults = read("[{ kind = 'dropout' }, { kind = 'leaky-relu' }]").unwrap();
    assert_eq!(defaults, [dropout(0.5), leaky_relu(0.01)]);
    // As TOML writes lists of tables, and as the command line sets a field.
    let text = "[[layers]]\nkind = 'flatten'\n[[layers]]\nkind = 'linear'\noutputs = 3\n";
    let section: Section = toml::from_str(text).unwrap();
    assert_eq!(section.layers.layers(7), layers![flatten(), linear(3)]);
    let table: toml::Table = toml::from_str(text).unwrap();
    assert_eq!(table.try_into::<Section>().unwrap(), section);
}

#[test]
fn what_is_written_is_read_again() {
    let section = Section { layers: LayerList::from(&everything()[..]) };
    let text = toml::to_string(&section).unwrap();
    assert_eq!(toml::from_str::<Section>(&text).unwrap(), section, "{text}");
    assert!(text.starts_with(
        "[[layers]]\nkind = \"conv\"\nname = \"conv1\"\noutputs = 16\nkernel = 5\npadding = 2\n\n"
    ));
    let text = serde_json::to_string(&section).unwrap();
    assert_eq!(serde_json::from_str::<Section>(&text).unwrap(), section);
    // Defaults are left out, and numbers are those that were written.
    for part in [
        r#"{"kind":"conv","outputs":8,"kernel":[3,1],"stride":[2,1],"padding":[0,1],"dilation":[1,2],"bias":false}"#,
        r#"{"kind":"leaky-relu","slope":0.1}"#,
        r#"{"kind":"avg-pool","kernel":2},"#,
        r#"{"kind":"max-pool","kernel":3,"stride":2,"padding":1}"#,
        r#"{"kind":"residual","body":[{"kind":"conv","outputs":8,"kernel":1},{"kind":"residual","#,
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    // The number of classes stays open.
    let open: LayerList = serde_json::from_str(r#"[{"kind":"linear"}]"#).unwrap();
    assert_eq!(serde_json::to_string(&open).unwrap(), r#"[{"kind":"linear"}]"#);
}

/// Each message names the layer by index and kind, and says what is allowed.
#[test]
fn mistakes_are_named() {
    let conv = |fields: &str| format!("[{{ kind = 'relu' }}, {{ kind = 'conv', {fields} }}]");
    for (layers, words) in [
        ("5".to_owned(), "5: expected a list of layers"),
        ("'lenet'".to_owned(), "\"lenet\": expected a list of layers"),
        (
            "[5]".to_owned(),
            "layer 0 is 5: expected a table with a kind, such as { kind = \"relu\" }",
        ),
        ("['relu']".to_owned(), "layer 0 is \"relu\": expected a table with a kind"),
        ("[{ name = 'a' }]".to_owned(), "layer 0 has no `kind`: expected one of conv, batch-norm"),
        (
            "[{ kind = 'convolution' }]".to_owned(),
            "layer 0 is of unknown kind \"convolution\": expected conv, batch-norm, group-norm, layer-norm, \
             instance-norm, relu, leaky-relu, relu6, hardsigmoid, hardswish, sigmoid, tanh, silu, gelu, elu, \
             softplus, prelu, max-pool, avg-pool, global-avg-pool, adaptive-max-pool, adaptive-avg-pool, dropout, \
             dropout2d, stochastic-depth, flatten, linear, softmax, log-softmax, add, multiply, concat, residual, \
             again",
        ),
        ("[{ kind = 'covn' }]".to_owned(), "residual, again; did you mean `conv`?"),
        ("[{ kind = 'BatchNorm' }]".to_owned(), "; did you mean `batch-norm`?"),
        (
            "[{ kind = 'linear', output = 3 }]".to_owned(),
            "layer 0 (linear): there is no field `output`: expected outputs, bias, name, from; did you mean `outputs`?",
        ),
        (
            "[{ kind = 'residual', body = [{ kind = 'avgpool' }] }]".to_owned(),
            "layer 0.body.0 is of unknown kind \"avgpool\": expected",
        ),
        ("[{ kind = 3 }]".to_owned(), "layer 0 is of unknown kind 3: expected conv"),
        (
            "[{ kind = 'gelu', approximate = 'erf' }]".to_owned(),
            "layer 0 (gelu): `approximate` is \"erf\": expected \"none\" or \"tanh\"",
        ),
        ("[{ kind = 'group-norm' }]".to_owned(), "layer 0 (group-norm): `groups` is missing"),
        (
            "[{ kind = 'batch-norm', eps = 0 }]".to_owned(),
            "layer 0 (batch-norm): `eps` is 0: expected a finite number above 0",
        ),
        (
            "[{ kind = 'softplus', beta = -1 }]".to_owned(),
            "layer 0 (softplus): `beta` is -1: expected a number from 0.001 to 1000",
        ),
        (conv("kernel = 3"), "layer 1 (conv): `outputs` is missing"),
        (conv("outputs = 3"), "layer 1 (conv): `kernel` is missing"),
        (
            conv("outputs = 3, kernl = 3"),
            "layer 1 (conv): there is no field `kernl`: expected outputs, kernel, stride, padding, \
             padding_mode, dilation, groups, bias, name, from",
        ),
        (
            conv("outputs = 'six', kernel = 3"),
            "layer 1 (conv): `outputs` is \"six\": expected a whole number from 1 to 65536",
        ),
        (conv("outputs = 0, kernel = 3"), "layer 1 (conv): `outputs` is 0: expected"),
        (conv("outputs = 1.5, kernel = 3"), "layer 1 (conv): `outputs` is 1.5: expected"),
        (conv("outputs = -1, kernel = 3"), "layer 1 (conv): `outputs` is -1: expected"),
        (
            conv("outputs = 9223372036854775807, kernel = 3"),
            "`outputs` is 9223372036854775807: expected",
        ),
        (
            conv("outputs = 4, kernel = 0"),
            "layer 1 (conv): `kernel` is 0: expected a whole number from 1 to 4096, or [rows, \
             columns] of such",
        ),
        (conv("outputs = 4, kernel = [3, 3, 3]"), "`kernel` is [3,3,3]: expected"),
        (conv("outputs = 4, kernel = [3, 0]"), "`kernel` is [3,0]: expected"),
        (conv("outputs = 4, kernel = 3, stride = 0"), "`stride` is 0: expected"),
        (conv("outputs = 4, kernel = 3, dilation = 0"), "`dilation` is 0: expected"),
        (
            conv("outputs = 4, kernel = 3, padding = 'valid'"),
            "layer 1 (conv): `padding` is \"valid\": expected a whole number from 0 to 4096, [rows, columns] or \
             [top, bottom, left, right] of such, or \"same\"",
        ),
        (conv("outputs = 4, kernel = 3, padding = 5000"), "`padding` is 5000: expected"),
        (conv("outputs = 4, kernel = 3, padding = [1, 2, 3]"), "`padding` is [1,2,3]: expected"),
        (conv("outputs = 4, kernel = 3, padding = [1, 2, 3, -1]"), "`padding` is [1,2,3,-1]:"),
        (
            conv("outputs = 4, kernel = 3, padding_mode = 'circular'"),
            "`padding_mode` is \"circular\": expected \"zeros\" or \"reflect\"",
        ),
        (conv("outputs = 4, kernel = 3, groups = 0"), "`groups` is 0: expected a whole number"),
        (
            "[{ kind = 'max-pool', kernel = 3, padding = 'same' }]".to_owned(),
            "layer 0 (max-pool): `padding` is \"same\": expected a whole number from 0 to 4096",
        ),
        (conv("outputs = 4, kernel = 3, bias = 1"), "`bias` is 1: expected true or false"),
        (conv("outputs = 4, kernel = 3, name = 1"), "`name` is 1: expected a string"),
        (
            "[{ kind = 'dropout', p = 1.0 }]".to_owned(),
            "layer 0 (dropout): `p` is 1.0: expected a number of at least 0 and below 1",
        ),
        ("[{ kind = 'dropout', p = nan }]".to_owned(), "`p` is not a number: expected"),
        ("[{ kind = 'leaky-relu', slope = 1e300 }]".to_owned(), "`slope` is 1e+300: expected"),
        ("[{ kind = 'leaky-relu', slope = inf }]".to_owned(), "`slope` is not a number"),
        (
            "[{ kind = 'relu', slope = 1 }]".to_owned(),
            "layer 0 (relu): there is no field `slope`: expected name, from; it is a field of leaky-relu",
        ),
        ("[{ kind = 'residual' }]".to_owned(), "layer 0 (residual): `body` is missing"),
        (
            "[{ kind = 'residual', body = { kind = 'relu' } }]".to_owned(),
            "layer 0 (residual): `body` is {\"kind\":\"relu\"}: expected a list of layers",
        ),
        (
            "[{ kind = 'residual', body = [], shortcut = [{ kind = 'linear', outputs = [] }] }]"
                .to_owned(),
            "layer 0.shortcut.0 (linear): `outputs` is []: expected a whole number",
        ),
    ] {
        let problem = read(&layers).unwrap_err();
        assert!(problem.contains(words), "{layers}: {problem}");
    }
}

/// The parsers have a limit, and networks a lower one.
#[test]
fn blocks_within_blocks() {
    let nested = |depth: usize| {
        let open = "[{ kind = 'residual', body = ".repeat(depth);
        open + "[{ kind = 'relu' }]" + &"}]".repeat(depth)
    };
    let layers = |depth| [read(&nested(depth)).unwrap(), layers![flatten(), linear(2)]].concat();
    Network::new([1, 2, 2], &layers(16)).unwrap();
    let error = Network::new([1, 2, 2], &layers(17)).unwrap_err();
    assert!(error.to_string().contains("(ReLU): blocks within blocks, too many"), "{error}");
    read(&nested(10_000)).unwrap_err();
    let headers: Vec<String> = (1..10_000)
        .map(|depth| format!("[[layers{}]]\nkind = 'residual'\n", ".body".repeat(depth)))
        .take(400)
        .collect();
    toml::from_str::<Section>(&headers.concat()).unwrap_err();
    let json = "[{\"kind\":\"residual\",\"body\":".repeat(10_000);
    serde_json::from_str::<LayerList>(&json).unwrap_err();
}

/// Inputs and layers used again, in the words of recipes and back.
#[test]
fn graphs_are_read_and_written() {
    let text = r#"[
        { kind = "conv", outputs = 4, kernel = 1, name = "a.conv" },
        { kind = "relu", from = "input" },
        { kind = "add", from = ["a.conv", "1"], name = "sum" },
        { kind = "again", layer = "a.conv", from = "sum" },
        { kind = "multiply", from = ["3", "sum"] },
        { kind = "concat", from = ["4", "sum", "1"] },
        { kind = "residual", from = "5", body = [{ kind = "add", from = ["input", "input"] }] },
    ]"#;
    let layers = read(text).unwrap();
    let expected = layers![
        conv2d(4, 1).named("a.conv"),
        relu().taking([INPUT]),
        add().taking(["a.conv", "1"]).named("sum"),
        again("a.conv").taking(["sum"]),
        multiply().taking(["3", "sum"]),
        concat().taking(["4", "sum", "1"]),
        residual(vec![add().taking([INPUT, INPUT])], vec![]).taking(["5"]),
    ];
    assert_eq!(layers, expected);
    let section = Section { layers: LayerList::from(&layers[..]) };
    let written = toml::to_string(&section).unwrap();
    assert_eq!(toml::from_str::<Section>(&written).unwrap(), section, "{written}");
    let json = serde_json::to_string(&section).unwrap();
    for part in [
        r#"{"kind":"relu","from":"input"}"#,
        r#"{"kind":"add","name":"sum","from":["a.conv","1"]}"#,
        r#"{"kind":"again","from":"sum","layer":"a.conv"}"#,
    ] {
        assert!(json.contains(part), "{part} is not in {json}");
    }
    for (layers, words) in [
        (
            "[{ kind = 'add', from = 3 }]",
            "layer 0 (add): `from` is 3: expected the name of a layer",
        ),
        ("[{ kind = 'add', from = [] }]", "`from` is []: expected the name of a layer before it"),
        ("[{ kind = 'add', from = ['a', 1] }]", "`from` is [\"a\",1]: expected the name"),
        ("[{ kind = 'again' }]", "layer 0 (again): `layer` is missing"),
        ("[{ kind = 'again', layer = 1 }]", "layer 0 (again): `layer` is 1: expected a string"),
        ("[{ kind = 'adds' }]", "; did you mean `add`?"),
        ("[{ kind = 'add', form = 'a' }]", "; did you mean `from`?"),
    ] {
        let problem = read(layers).unwrap_err();
        assert!(problem.contains(words), "{layers}: {problem}");
    }
}
