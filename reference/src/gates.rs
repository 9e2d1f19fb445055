//! The functions of gates, and what one unit of a recurrent layer computes.

/// Numerator and denominator of a rational function that approximates `tanh(x)`.
fn t(x: f32) -> (f32, f32) {
    let x = x.max(-7.75).min(7.75);
    let t = x * x;
    let numerator = x * (((46.14113 * t + 11813.992) * t + 515790.8) * t + 3987206.3);
    let denominator = (((t + 958.7068) * t + 95145.234) * t + 1844852.9) * t + 3987208.0;
    (numerator, denominator)
}

/// Numerator and denominator of a rational function that approximates `tanh(x / 2)`.
fn h(x: f32) -> (f32, f32) {
    let x = x.max(-14.0).min(14.0);
    let t = x * x;
    let numerator = x * (((0.013803976 * t + 31.99121) * t + 6913.7188) * t + 224795.48);
    let denominator = ((t + 592.1191) * t + 51291.844) * t + 449592.9;
    (numerator, denominator)
}

/// Hyperbolic tangent.
pub fn tanh(x: f32) -> f32 {
    let (n, d) = t(x);
    n / d
}

/// The logistic function.
pub fn sigmoid(x: f32) -> f32 {
    let (n, d) = h(x);
    (d + n) / (d + d)
}

/// The new state of a unit of a GRU, from the gates r, z, n.
pub fn gru(input: [f32; 3], recurrent: [f32; 3], state: f32) -> f32 {
    let (n_r, d_r) = h(input[0] + recurrent[0]);
    let (n_z, d_z) = h(input[1] + recurrent[1]);
    let inverse = 0.5 / (d_r * d_z);
    let r = (d_r + n_r) * (inverse * d_z);
    let z = (d_z + n_z) * (inverse * d_r);
    let n = tanh(input[2] + r * recurrent[2]);
    n + z.min(1.0) * (state - n)
}

/// The new state of a unit of a GRU that resets before the product, from the gates z and n.
pub fn gru_after_reset(input: [f32; 2], recurrent: [f32; 2], state: f32) -> f32 {
    let z = sigmoid(input[0] + recurrent[0]);
    let n = tanh(input[1] + recurrent[1]);
    n + z * (state - n)
}

/// The new state and cell of a unit of an LSTM, from the gates i, f, g, o.
pub fn lstm(input: [f32; 4], recurrent: [f32; 4], cell: f32) -> (f32, f32) {
    let (n_i, d_i) = h(input[0] + recurrent[0]);
    let (n_f, d_f) = h(input[1] + recurrent[1]);
    let (n_g, d_g) = t(input[2] + recurrent[2]);
    let (n_o, d_o) = h(input[3] + recurrent[3]);
    let d_ig = d_i * d_g;
    let inverse = 0.5 / (d_ig * d_f);
    let forget = (d_f + n_f) * (d_ig * inverse);
    let new = ((d_i + n_i) * n_g) * (d_f * inverse);
    let cell = forget.min(1.0) * cell + new;
    let (n_c, d_c) = t(cell);
    (((d_o + n_o) * n_c) / ((d_o + d_o) * d_c), cell)
}
