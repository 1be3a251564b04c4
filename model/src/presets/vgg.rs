//! Plain stacks of 3×3 convolutions: K. Simonyan, A. Zisserman, "Very deep convolutional networks for large-scale image
//! recognition", ICLR 2015.

use crate::layers;
use crate::layers::*;

/// torchvision's `vgg11_bn`.
pub(super) fn vgg11_bn(classes: usize) -> Vec<Layer> {
    let mut layers = vec![];
    let put = |layers: &mut Vec<Layer>, layer: Layer| {
        let name = format!("features.{}", layers.len());
        layers.push(layer.named(&name));
    };
    for stage in [&[64][..], &[128], &[256, 256], &[512, 512], &[512, 512]] {
        for channels in stage {
            let convolution = conv2d(*channels, 3).padding(1);
            layers![convolution, batch_norm2d(), relu()]
                .into_iter()
                .for_each(|layer| put(&mut layers, layer));
        }
        put(&mut layers, max_pool2d(2).into());
    }
    layers.extend(layers![
        adaptive_avg_pool2d([7, 7]).named("avgpool"),
        flatten().named("flatten"),
        linear(4096).named("classifier.0"),
        relu().named("classifier.1"),
        dropout(0.5).named("classifier.2"),
        linear(4096).named("classifier.3"),
        relu().named("classifier.4"),
        dropout(0.5).named("classifier.5"),
        linear(classes).named("classifier.6"),
    ]);
    layers
}
