//! Layers without parameters by definition, and joins, with the way back through them.

use kernels::Pool;
use model::Kind;
use reference::*;

/// From the gradient of a layer's output to that of its input; adds those of its parameters.
pub type Pullback<'a> = Box<dyn Fn(&[f64], &mut [f64]) -> Vec<f64> + 'a>;

/// The same to the gradients of all its inputs.
pub type Joined<'a> = Box<dyn Fn(&[f64], &mut [f64]) -> Vec<Vec<f64>> + 'a>;

/// A value, its shape, and the way back from it.
pub type Forward<'a> = (Vec<f64>, Planes, Pullback<'a>);

pub fn largest<'a>(pool: Pool, x: Vec<f64>, planes: Planes) -> Forward<'a> {
    let y = max_pool2d(&planes, pool, &x);
    let to = Planes { size: pool.output(planes.size).expect("a pool that fits"), ..planes };
    (y, to, Box::new(move |dy, _| max_pool2d_backward(&planes, pool, &x, dy)))
}

pub fn average<'a>(pool: Pool, x: Vec<f64>, planes: Planes) -> Forward<'a> {
    let y = avg_pool2d(&planes, pool, &x);
    let to = Planes { size: pool.output(planes.size).expect("a pool that fits"), ..planes };
    (y, to, Box::new(move |dy, _| avg_pool2d_backward(&planes, pool, dy)))
}

/// Softmax or its logarithm over the channels of each pixel: the definition has classes side by side.
pub fn over_classes<'a>(log: bool, x: Vec<f64>, planes: Planes) -> Forward<'a> {
    let (channels, pixels) = (planes.channels, planes.pixels());
    let rows = move |values: &[f64]| -> Vec<f64> {
        let place = |i: usize| {
            let (class, row) = (i % channels, i / channels);
            (row / pixels * channels + class) * pixels + row % pixels
        };
        (0..values.len()).map(|i| values[place(i)]).collect()
    };
    let back = move |values: Vec<f64>| -> Vec<f64> {
        let place = |i: usize| {
            let (pixel, plane) = (i % pixels, i / pixels);
            (plane / channels * pixels + pixel) * channels + plane % channels
        };
        (0..values.len()).map(|i| values[place(i)]).collect()
    };
    let f = if log { log_softmax } else { softmax };
    let backward = if log { log_softmax_backward } else { softmax_backward };
    let y = f(&rows(&x), channels);
    let pullback: Pullback<'a> = {
        let y = y.clone();
        Box::new(move |dy, _| back(backward(&y, channels, &rows(dy))))
    };
    (back(y), planes, pullback)
}

/// A layer of several inputs.
pub fn join<'a>(kind: &Kind, inputs: Vec<(Vec<f64>, Planes)>) -> (Vec<f64>, Planes, Joined<'a>) {
    let (x, shapes): (Vec<Vec<f64>>, Vec<Planes>) = inputs.into_iter().unzip();
    match kind {
        Kind::Add(_) => {
            let y = x[1..].iter().fold(x[0].clone(), |sum, x| add(&sum, x));
            (y, shapes[0], Box::new(move |dy, _| vec![dy.to_vec(); x.len()]))
        }
        Kind::Multiply(_) => {
            let larger = usize::from(shapes[0].pixels() < shapes[1].pixels());
            let planes = shapes[larger];
            // How many values of each have the same factor.
            let pixels = planes.pixels() / shapes[1 - larger].pixels();
            let y = scale_planes(pixels, &x[larger], &x[1 - larger]);
            let back: Joined<'a> = Box::new(move |dy, _| {
                let (d, dfactors) = scale_planes_backward(pixels, &x[larger], &x[1 - larger], dy);
                if larger == 0 { vec![d, dfactors] } else { vec![dfactors, d] }
            });
            (y, planes, back)
        }
        Kind::Concat(_) => {
            let channels: Vec<usize> = shapes.iter().map(|s| s.channels * s.pixels()).collect();
            let y = concat(shapes[0].images, &x);
            let all = Planes { channels: shapes.iter().map(|s| s.channels).sum(), ..shapes[0] };
            (y, all, Box::new(move |dy, _| concat_backward(&channels, dy)))
        }
        other => panic!("{other:?} joins nothing"),
    }
}

pub fn accumulate(sum: &mut [f64], values: &[f64]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}
