//! Small networks of the kinds of layers that have no shape of their own.

use crate::networks::{Example, example};
use model::*;

pub fn examples() -> Vec<Example> {
    let with = |layers: Vec<Layer>| {
        layers.into_iter().chain(layers![flatten(), linear(3)]).collect::<Vec<_>>()
    };
    vec![
        example(
            "batch norm's choices",
            [2, 4, 4],
            with(layers![batch_norm2d().affine(false).eps(0.01), relu()]),
        ),
        example(
            "group norm",
            [2, 5, 4],
            with(layers![conv2d(6, 2), group_norm(3).eps(1e-3), silu()]),
        ),
        example(
            "layer norms",
            [2, 4, 4],
            layers![
                conv2d(5, 2),
                layer_norm(),
                tanh(),
                layer_norm().over_pixels(),
                flatten(),
                layer_norm(),
                linear(3)
            ],
        ),
        example(
            "instance norms",
            [3, 4, 5],
            with(layers![instance_norm(), conv2d(4, 2), instance_norm().affine(true)]),
        ),
        example(
            "smooth functions",
            [2, 4, 4],
            with(layers![
                conv2d(4, 2),
                sigmoid(),
                conv2d(4, 1),
                gelu_tanh(),
                conv2d(3, 1),
                elu(0.7),
                conv2d(3, 1),
                softplus(2.0)
            ]),
        ),
        example(
            "pieces",
            [2, 4, 4],
            with(layers![
                conv2d(4, 2),
                relu6(),
                conv2d(4, 1),
                hardswish(),
                conv2d(3, 1),
                hardsigmoid()
            ]),
        ),
        example(
            "PReLU",
            [2, 4, 4],
            with(layers![conv2d(4, 2), prelu(), conv2d(3, 2), prelu().per_channel()]),
        ),
        example(
            "adaptive pools",
            [2, 7, 5],
            with(layers![
                conv2d(4, 2),
                adaptive_avg_pool2d([4, 3]),
                conv2d(3, 1),
                adaptive_max_pool2d([3, 5])
            ]),
        ),
        example(
            "pools rounded up",
            [2, 8, 8],
            with(layers![
                max_pool2d(3).stride(2).ceil(),
                conv2d(3, 1),
                avg_pool2d(3).stride(2).padding(1).ceil().uncounted_padding()
            ]),
        ),
        example(
            "dropouts",
            [1, 6, 6],
            with(layers![
                conv2d(8, 3),
                gelu(),
                dropout2d(0.4),
                conv2d(3, 1),
                stochastic_depth(0.3)
            ]),
        ),
        example(
            "groups",
            [4, 6, 5],
            with(layers![
                conv2d(6, 3).groups(2).padding(1),
                gelu(),
                conv2d(4, 2).groups(2).no_bias()
            ]),
        ),
        example(
            "depthwise",
            [3, 7, 6],
            with(layers![
                conv2d(6, 3).groups(3).padding(1).stride([2, 1]).no_bias(),
                batch_norm2d(),
                relu6(),
                conv2d(6, 3).groups(6).same(),
                relu(),
                max_pool2d(2)
            ]),
        ),
        example(
            "paddings",
            [2, 5, 6],
            with(layers![
                conv2d(4, [2, 3]).uneven_padding([1, 0], [2, 3]),
                gelu(),
                conv2d(4, [4, 1]).same().dilation([1, 2]),
                batch_norm2d(),
                relu(),
                conv2d(4, 3).padding(2).reflect(),
                gelu(),
                conv2d(4, [3, 2]).same().reflect().groups(2),
            ]),
        ),
        example(
            "softmaxes",
            [2, 4, 4],
            with(layers![conv2d(4, 2), softmax(), conv2d(3, 2), log_softmax()]),
        ),
    ]
}
