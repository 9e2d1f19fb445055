//! Functions of the features of a frame.

use crate::gates;
use crate::product::Activation;

/// A function of a frame.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names are those of model files")]
pub enum Function {
    Tanh,
    Sigmoid,
    Relu,
    ClippedRelu(f32),
    LeakyRelu(f32),
    Silu,
    Gelu,
    GeluTanh,
    HardSigmoid { slope: f32, offset: f32 },
    HardSwish,
    Absolute,
    Square,
    SquareRoot,
    Softmax,
    LogSoftmax,
    Normalize { epsilon: f32 },
}

impl Function {
    /// Its value.
    pub fn of(self, frame: &[f32]) -> Vec<f32> {
        let each = |f: &dyn Fn(f32) -> f32| frame.iter().map(|&x| f(x)).collect();
        match self {
            Self::Tanh => each(&gates::tanh),
            Self::Sigmoid => each(&gates::sigmoid),
            Self::Relu => each(&|x| Activation::Relu.of(x)),
            Self::ClippedRelu(limit) => each(&|x| Activation::ClippedRelu(limit).of(x)),
            Self::LeakyRelu(slope) => each(&|x| if x > 0.0 { x } else { slope * x }),
            Self::Silu => each(&|x| x * logistic(x)),
            Self::Gelu => each(&|x| x * (0.5 + 0.5 * erf(x * 0.70710677))),
            Self::GeluTanh => each(&|x| x * logistic(1.595769 * (x + 0.044715 * x * x * x))),
            Self::HardSigmoid { slope, offset } => each(&|x| unit(slope * x + offset)),
            Self::HardSwish => each(&|x| x * unit(x * (1.0 / 6.0) + 0.5)),
            Self::Absolute => each(&f32::abs),
            Self::Square => each(&|x| x * x),
            Self::SquareRoot => each(&sqrt),
            Self::Softmax => {
                let e: Vec<f32> = frame.iter().map(|x| exp(x - most(frame))).collect();
                e.iter().map(|x| x / sum(&e)).collect()
            }
            Self::LogSoftmax => {
                let e: Vec<f32> = frame.iter().map(|x| exp(x - most(frame))).collect();
                each(&|x| (x - most(frame)) - ln(sum(&e)))
            }
            Self::Normalize { epsilon } => {
                let norm = sqrt(sum(&squares(frame)));
                let norm = if norm > epsilon { norm } else { epsilon };
                each(&|x| x / norm)
            }
        }
    }
}

/// Layer normalization.
pub fn layer_norm(x: &[f32], weight: Option<&[f32]>, bias: Option<&[f32]>, epsilon: f32) -> Vec<f32> {
    let n = x.len() as f32;
    let mean = sum(x) / n;
    let centred: Vec<f32> = x.iter().map(|x| x - mean).collect();
    let variance = sum(&squares(&centred)) / n;
    let mut y: Vec<f32> = centred.iter().map(|x| x / sqrt(variance + epsilon)).collect();
    if let Some(weight) = weight {
        y.iter_mut().zip(weight).for_each(|(y, weight)| *y *= weight);
    }
    if let Some(bias) = bias {
        y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
    }
    y
}

/// The sum of a frame, in 8 lanes, which are then added in halves.
fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0.0; 8];
    for (i, x) in x.iter().enumerate() {
        lanes[i % 8] += x;
    }
    for width in [4, 2, 1] {
        for l in 0..width {
            lanes[l] += lanes[l + width];
        }
    }
    lanes[0]
}

fn squares(x: &[f32]) -> Vec<f32> {
    x.iter().map(|x| x * x).collect()
}

/// The largest finite feature, or 0.
fn most(x: &[f32]) -> f32 {
    x.iter().copied().filter(|x| x.is_finite()).reduce(f32::max).unwrap_or(0.0)
}

fn sqrt(x: f32) -> f32 {
    if x > 0.0 { x.sqrt() } else { 0.0 }
}

fn unit(x: f32) -> f32 {
    (x + 0.0).max(0.0).min(1.0)
}

/// Of numbers up to 0.
fn exp(x: f32) -> f32 {
    let x = x.max(-87.0).min(0.0);
    let n = (x * 1.442695 + 12582912.0) - 12582912.0;
    let r = (x - n * 0.6933594) - n * -2.1219444e-4;
    let s = r * (r * (r * (r * (r * (r * (1.0 / 5040.0) + 1.0 / 720.0) + 1.0 / 120.0) + 1.0 / 24.0) + 1.0 / 6.0) + 0.5);
    (r * s + r + 1.0) * power_of_two(n as i32)
}

/// Of numbers from 1 on.
fn ln(x: f32) -> f32 {
    let mut n = 0;
    let scaled = |n: i32| x * power_of_two(-n);
    while scaled(n) < 0.70710677 {
        n -= 1;
    }
    while scaled(n) >= 2.0 * 0.70710677 {
        n += 1;
    }
    let (n, m) = (n as f32, scaled(n));
    let f = (m - 1.0) / (m + 1.0);
    let t = f * f;
    let s = t * (t * (t * (t * (1.0 / 9.0) + 1.0 / 7.0) + 1.0 / 5.0) + 1.0 / 3.0);
    n * 0.6933594 + (n * -2.1219444e-4 + (2.0 * f * s + 2.0 * f))
}

fn erf(x: f32) -> f32 {
    let y = x.abs().min(9.0);
    let t = 1.0 / (1.0 + 0.3275911 * y);
    let s = t * (0.2548296 + t * (-0.28449674 + t * (1.4214137 + t * (-1.4531521 + t * 1.0614054))));
    (1.0 - s * exp(-y * y)).copysign(x)
}

fn logistic(x: f32) -> f32 {
    let p = exp(-x.abs());
    (if x < 0.0 { p } else { 1.0 }) / (1.0 + p)
}

/// `2^n` for `n` in -126..=127.
fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n + 127) as u32) << 23)
}
