//! What joins values, by definition.

/// `y[i] = x[i] · factors[⌊i / pixels⌋]`: planes of so many pixels times a value each.
pub fn scale_planes(pixels: usize, x: &[f64], factors: &[f64]) -> Vec<f64> {
    assert_eq!(x.len(), factors.len() * pixels, "a factor for each plane");
    x.iter().enumerate().map(|(i, x)| x * factors[i / pixels]).collect()
}

/// The gradients of [`scale_planes`]: of `x`, and of the factors.
pub fn scale_planes_backward(
    pixels: usize,
    x: &[f64],
    factors: &[f64],
    dy: &[f64],
) -> (Vec<f64>, Vec<f64>) {
    let mut dfactors = vec![0.0; factors.len()];
    for (i, (x, dy)) in x.iter().zip(dy).enumerate() {
        dfactors[i / pixels] += x * dy;
    }
    (scale_planes(pixels, dy, factors), dfactors)
}

/// The values of each image one after the other: row-major `[images][…]` to `[images][… + … + …]`.
pub fn concat(images: usize, x: &[Vec<f64>]) -> Vec<f64> {
    let row = |x: &Vec<f64>, image: usize| {
        let len = x.len() / images;
        x[image * len..][..len].to_vec()
    };
    (0..images).flat_map(|image| x.iter().flat_map(move |x| row(x, image))).collect()
}

/// The gradients of [`concat()`], of inputs with so many values for an image.
pub fn concat_backward(lengths: &[usize], dy: &[f64]) -> Vec<Vec<f64>> {
    let mut dx = vec![vec![]; lengths.len()];
    for row in dy.chunks_exact(lengths.iter().sum()) {
        let mut rest = row;
        for (dx, len) in dx.iter_mut().zip(lengths) {
            let (own, after) = rest.split_at(*len);
            dx.extend_from_slice(own);
            rest = after;
        }
    }
    dx
}
