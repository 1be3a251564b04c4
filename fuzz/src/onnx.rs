//! Of ONNX files what is looked at to see that they are whole.

use prost::Message;

/// Of a message of ONNX what is looked at; <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>.
#[derive(Clone, PartialEq, Message)]
struct OnnxModel {
    #[prost(message, optional, tag = "7")]
    graph: Option<OnnxGraph>,
}

#[derive(Clone, PartialEq, Message)]
struct OnnxGraph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<OnnxNode>,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<OnnxTensor>,
}

#[derive(Clone, PartialEq, Message)]
struct OnnxNode {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct OnnxTensor {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
    #[prost(string, tag = "8")]
    name: String,
}

/// Every input has been made before, every name once, and the logits are among them.
pub fn check(bytes: &[u8]) {
    let graph = OnnxModel::decode(bytes).expect("a message").graph.expect("a graph");
    let mut known = std::collections::HashSet::from(["image".to_owned()]);
    for tensor in graph.initializer {
        let elements = tensor.dims.iter().product::<i64>() as usize;
        let bytes = tensor.raw_data.len();
        assert!(bytes == 4 * elements || bytes == 8 * elements || bytes == 0, "{}", tensor.name);
        assert!(known.insert(tensor.name.clone()), "{} twice", tensor.name);
    }
    for node in graph.node {
        for input in node.input {
            assert!(input.is_empty() || known.contains(&input), "{input} is not there");
        }
        for output in node.output {
            assert!(known.insert(output.clone()), "{output} twice");
        }
    }
    assert!(known.contains("logits"));
}
