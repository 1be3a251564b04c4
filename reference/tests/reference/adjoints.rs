//! Identities between the reference operations: the backward of a linear operation is its adjoint,
//! `⟨Ax, y⟩ = ⟨x, Aᵀy⟩`, and a convolution is the product of its weights with the im2col matrix.

use kernels::Window;
use proptest::prelude::*;
use reference::*;

/// `⟨ax, y⟩ = ⟨x, aty⟩`, up to the rounding of sums of such terms.
fn adjoint(ax: &[f64], y: &[f64], x: &[f64], aty: &[f64]) -> Result<(), TestCaseError> {
    let (left, right) = (dot(ax, y), dot(x, aty));
    let tolerance = 1e-13 * (norm(ax) * norm(y) + norm(x) * norm(aty));
    prop_assert!((left - right).abs() <= tolerance, "⟨Ax, y⟩ = {left}, ⟨x, Aᵀy⟩ = {right}");
    Ok(())
}

fn close(a: &[f64], b: &[f64]) -> Result<(), TestCaseError> {
    prop_assert_eq!(a.len(), b.len());
    let difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    prop_assert!(norm(&difference) <= 1e-13 * (norm(a) + norm(b)), "{a:?} and {b:?}");
    Ok(())
}

const WINDOWS: WindowLimits = WindowLimits { kernel: [3, 3], padding: 3, dilation: 3, size: 9 };

fn convolutions() -> impl Strategy<Value = Conv> {
    let conv = |((window, size), images, inputs, outputs): ((Window, _), _, _, _)| Conv {
        images,
        inputs,
        outputs,
        size,
        options: window.into(),
    };
    (WINDOWS.windows(), 1..=3usize, 1..=4usize, 1..=4usize).prop_map(conv)
}

/// The values of planes with zeros around them.
fn padded(planes: &Planes, [rows, columns]: [usize; 2], x: &[f64]) -> (Planes, Vec<f64>) {
    let size = [planes.size[0] + 2 * rows, planes.size[1] + 2 * columns];
    let wide = Planes { size, ..*planes };
    let mut y = vec![0.0; wide.len()];
    for image in 0..planes.images {
        for channel in 0..planes.channels {
            for row in 0..planes.size[0] {
                for column in 0..planes.size[1] {
                    y[wide.index(image, channel, [row + rows, column + columns])] =
                        x[planes.index(image, channel, [row, column])];
                }
            }
        }
    }
    (wide, y)
}

proptest! {
    #[test]
    fn conv2d_is_linear_in_input_and_weights(conv in convolutions(), seed in any::<u64>()) {
        let x: Vec<f64> = uniform(conv.input().len(), seed);
        let w: Vec<f64> = uniform(conv.weights(), seed ^ 1);
        let dy: Vec<f64> = uniform(conv.output().len(), seed ^ 2);
        let bias: Vec<f64> = uniform(conv.outputs, seed ^ 3);
        let y = conv2d(&conv, &x, &w, None);
        let gradients = conv2d_backward(&conv, &x, &w, &dy);
        adjoint(&y, &dy, &x, &gradients.dx)?;
        adjoint(&y, &dy, &w, &gradients.dw)?;
        let only_bias = conv2d(&conv, &vec![0.0; x.len()], &w, Some(&bias));
        adjoint(&only_bias, &dy, &bias, &gradients.db)?;
        close(&conv2d(&conv, &x, &w, Some(&bias)), &add(&y, &only_bias))?;
    }

    #[test]
    fn linear_is_linear_in_input_and_weights(
        (images, inputs, outputs) in (1..=9usize, 1..=9usize, 1..=9usize),
        seed in any::<u64>(),
    ) {
        let shape = Linear { images, inputs, outputs };
        let x: Vec<f64> = uniform(images * inputs, seed);
        let w: Vec<f64> = uniform(outputs * inputs, seed ^ 1);
        let dy: Vec<f64> = uniform(images * outputs, seed ^ 2);
        let bias: Vec<f64> = uniform(outputs, seed ^ 3);
        let y = linear(&shape, &x, &w, None);
        let gradients = linear_backward(&shape, &x, &w, &dy);
        adjoint(&y, &dy, &x, &gradients.dx)?;
        adjoint(&y, &dy, &w, &gradients.dw)?;
        let only_bias = linear(&shape, &vec![0.0; x.len()], &w, Some(&bias));
        adjoint(&only_bias, &dy, &bias, &gradients.db)?;
        close(&linear(&shape, &x, &w, Some(&bias)), &add(&y, &only_bias))?;
    }

    #[test]
    fn average_pools_and_im2col_are_linear(
        (window, size) in WINDOWS.windows(),
        (images, channels) in (1..=2usize, 1..=3usize),
        seed in any::<u64>(),
    ) {
        let planes = Planes { images, channels, size };
        let x: Vec<f64> = uniform(planes.len(), seed);

        let y = avg_pool2d(&planes, window, &x);
        let dy: Vec<f64> = uniform(y.len(), seed ^ 1);
        adjoint(&y, &dy, &x, &avg_pool2d_backward(&planes, window, &dy))?;

        let y = global_avg_pool2d(&planes, &x);
        let dy: Vec<f64> = uniform(y.len(), seed ^ 2);
        adjoint(&y, &dy, &x, &global_avg_pool2d_backward(&planes, &dy))?;

        let columns = im2col(&planes, &window, &x);
        let dy: Vec<f64> = uniform(columns.len(), seed ^ 3);
        adjoint(&columns, &dy, &x, &col2im(&planes, &window, &dy))?;
    }

    #[test]
    fn conv2d_is_gemm_of_im2col(conv in convolutions(), seed in any::<u64>()) {
        let x: Vec<f64> = uniform(conv.input().len(), seed);
        let w: Vec<f64> = uniform(conv.weights(), seed ^ 1);
        let dy: Vec<f64> = uniform(conv.output().len(), seed ^ 2);
        let (input, pixels) = (conv.input(), conv.output().pixels());
        let columns = im2col(&input, &conv.window(), &x);
        let (column_len, y_len) = (conv.taps() * pixels, conv.outputs * pixels);

        let mut y = vec![f64::NAN; dy.len()];
        let mut dcolumns = vec![f64::NAN; columns.len()];
        let mut dw = vec![0.0; w.len()];
        let forward = Gemm::new(conv.outputs, pixels, conv.taps());
        let to_columns = Gemm::new(conv.taps(), pixels, conv.outputs).transpose_a();
        let to_weights = Gemm::new(conv.outputs, conv.taps(), pixels).transpose_b();
        for image in 0..conv.images {
            let columns = &columns[image * column_len..][..column_len];
            let dcolumns = &mut dcolumns[image * column_len..][..column_len];
            let dy = &dy[image * y_len..][..y_len];
            gemm(&forward, 1.0, &w, columns, 0.0, &mut y[image * y_len..][..y_len]);
            gemm(&to_columns, 1.0, &w, dy, 0.0, dcolumns);
            gemm(&to_weights, 1.0, dy, columns, 1.0, &mut dw);
        }
        let gradients = conv2d_backward(&conv, &x, &w, &dy);
        close(&y, &conv2d(&conv, &x, &w, None))?;
        close(&dw, &gradients.dw)?;
        close(&col2im(&input, &conv.window(), &dcolumns), &gradients.dx)?;
    }

    /// Padding is a border of zeros for convolutions, average pools and im2col, and of −∞ for
    /// max-pools.
    #[test]
    fn padding_is_a_border(conv in convolutions(), seed in any::<u64>()) {
        let (planes, window) = (conv.input(), conv.window());
        let x: Vec<f64> = uniform(planes.len(), seed);
        let w: Vec<f64> = uniform(conv.weights(), seed ^ 1);
        let (wide, bordered) = padded(&planes, window.padding, &x);
        let bare = Window { padding: [0, 0], ..window };

        let wide_conv = Conv { size: wide.size, options: bare.into(), ..conv };
        close(&conv2d(&conv, &x, &w, None), &conv2d(&wide_conv, &bordered, &w, None))?;
        prop_assert_eq!(avg_pool2d(&planes, window, &x), avg_pool2d(&wide, bare, &bordered));
        prop_assert_eq!(im2col(&planes, &window, &x), im2col(&wide, &bare, &bordered));

        let (_, inside) = padded(&planes, window.padding, &vec![1.0; x.len()]);
        let lowest = |(x, inside): (&f64, &f64)| if *inside == 1.0 { *x } else { f64::NEG_INFINITY };
        let bordered: Vec<f64> = bordered.iter().zip(&inside).map(lowest).collect();
        prop_assert_eq!(max_pool2d(&planes, window, &x), max_pool2d(&wide, bare, &bordered));
    }

    #[test]
    fn gemm_reads_transposes_and_leading_dimensions(
        (m, n, k) in (0..=5usize, 0..=5usize, 0..=5usize),
        (ta, tb) in any::<(bool, bool)>(),
        gaps in [0..=2usize, 0..=2usize, 0..=2usize],
        (alpha, beta) in (-2.0..2.0, -2.0..2.0),
        seed in any::<u64>(),
    ) {
        let lda = gaps[0] + if ta { m } else { k };
        let ldb = gaps[1] + if tb { k } else { n };
        let ldc = gaps[2] + n;
        let shape = Gemm {
            m, n, k,
            a: Operand { transposed: ta, leading: lda },
            b: Operand { transposed: tb, leading: ldb },
            leading: ldc,
        };
        let a: Vec<f64> = uniform(lda * if ta { k } else { m }, seed);
        let b: Vec<f64> = uniform(ldb * if tb { n } else { k }, seed ^ 1);
        let old: Vec<f64> = uniform(ldc * m, seed ^ 2);
        let mut c = old.clone();
        gemm(&shape, alpha, &a, &b, beta, &mut c);
        for i in 0..m {
            for j in 0..n {
                let term = |p: usize| {
                    let a = if ta { a[p * lda + i] } else { a[i * lda + p] };
                    let b = if tb { b[j * ldb + p] } else { b[p * ldb + j] };
                    a * b
                };
                let place = i * ldc + j;
                let expected = alpha * (0..k).map(term).sum::<f64>() + beta * old[place];
                prop_assert!((c[place] - expected).abs() < 1e-13);
            }
            prop_assert_eq!(&c[i * ldc + n..(i + 1) * ldc], &old[i * ldc + n..(i + 1) * ldc]);
        }
    }
}
