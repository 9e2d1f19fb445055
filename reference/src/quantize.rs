//! Quantization: of weights, once, and of activations, a row at a time.

/// The least scale, `2^-126`.
const LEAST: f32 = f32::MIN_POSITIVE;

/// A format of weights, by its name in model files.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Format {
    /// `"int8"`
    Int8,
    /// `"int4"`
    Int4,
    /// `"int4 in groups of 32"`
    Int4Groups,
    /// `"int2 in groups of 64"`
    Int2Groups,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Int8, Self::Int4, Self::Int4Groups, Self::Int2Groups];

    /// Its name in model files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Int4 => "int4",
            Self::Int4Groups => "int4 in groups of 32",
            Self::Int2Groups => "int2 in groups of 64",
        }
    }

    /// Columns of a group that has a multiplier of its own.
    pub fn group(self) -> Option<usize> {
        match self {
            Self::Int8 | Self::Int4 => None,
            Self::Int4Groups => Some(32),
            Self::Int2Groups => Some(64),
        }
    }
}

/// A matrix of quantized weights.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// The format.
    pub format: Format,
    /// `q`, row by row.
    pub values: Vec<Vec<i8>>,
    /// `m`, row by row, one for each group. Without groups each row has a single one, 1.
    pub multipliers: Vec<Vec<i8>>,
    /// One for each row.
    pub scales: Vec<f32>,
}

impl Quantized {
    /// What the activations are multiplied by: `m * q`.
    pub fn integer(&self, row: usize, column: usize) -> i32 {
        let group = self.format.group().map_or(0, |columns| column / columns);
        i32::from(self.multipliers[row][group]) * i32::from(self.values[row][column])
    }

    /// The weight that a quantized one stands for.
    pub fn value(&self, row: usize, column: usize) -> f32 {
        self.scales[row] * self.integer(row, column) as f32
    }

    /// Quantizes finite weights, row by row.
    pub fn new(w: &[Vec<f32>], format: Format) -> Self {
        let row = match format {
            Format::Int8 => int8,
            Format::Int4 => int4,
            Format::Int4Groups => int4_groups,
            Format::Int2Groups => int2_groups,
        };
        let mut all = Self { format, values: vec![], multipliers: vec![], scales: vec![] };
        for (scale, multipliers, values) in w.iter().map(|w| row(w)) {
            all.scales.push(scale);
            all.multipliers.push(multipliers);
            all.values.push(values);
        }
        all
    }
}

/// The scale of a row, the multipliers of its groups, and its values.
type Row = (f32, Vec<i8>, Vec<i8>);

fn int8(w: &[f32]) -> Row {
    let a = largest(w);
    let scale = if a == 0.0 { 1.0 } else { (a / 127.0).max(LEAST).min(greatest()) };
    (scale, vec![1], w.iter().map(|w| (w / scale).round_ties_even() as i8).collect())
}

fn int4(w: &[f32]) -> Row {
    let a = largest(w);
    let scale = if a == 0.0 { 1.0 } else { (a / 7.0).max(LEAST) };
    (scale, vec![1], w.iter().map(|w| nearest(w / scale, -7.0, 7.0) as i8).collect())
}

fn int4_groups(w: &[f32]) -> Row {
    let a = largest(w);
    let scale = if a == 0.0 { 1.0 } else { (a / 889.0).max(LEAST) };
    let (mut multipliers, mut values) = (vec![], vec![]);
    for group in w.chunks(32) {
        let m = ((largest(group) / scale) / 7.0).ceil().min(127.0);
        let step = scale * m.max(1.0);
        multipliers.push(m as i8);
        values.extend(group.iter().map(|w| nearest(w / step, -7.0, 7.0) as i8));
    }
    (scale, multipliers, values)
}

fn int2_groups(w: &[f32]) -> Row {
    let a = largest(w);
    if a == 0.0 {
        return (1.0, vec![0; w.len().div_ceil(64)], vec![0; w.len()]);
    }
    let groups: Vec<Vec<f32>> = w.chunks(64).map(|group| group.iter().map(|w| w / a).collect()).collect();
    let steps: Vec<f32> = groups.iter().map(|v| best_step(v)).collect();
    let u = largest(&steps);
    let scale = ((u / 63.0) * a).max(LEAST).min(greatest());
    let r = scale / a;
    let (mut multipliers, mut values) = (vec![], vec![]);
    for ((group, v), &step) in w.chunks(64).zip(&groups).zip(&steps) {
        let m = limit(step / r, -63.0, 63.0).trunc();
        let further = limit(if step < 0.0 { m - 1.0 } else { m + 1.0 }, -63.0, 63.0);
        let m = if error(v, r * further) < error(v, r * m) { further } else { m };
        multipliers.push(m as i8);
        values.extend(group.iter().map(|w| if m == 0.0 { 0 } else { nearest(w / (scale * m), -2.0, 1.0) as i8 }));
    }
    (scale, multipliers, values)
}

/// The step of a group of 2-bit weights that leaves the least error among those that are tried.
fn best_step(v: &[f32]) -> f32 {
    let b = largest(v);
    let mut best = 0.0;
    let consider = |best: &mut f32, step| {
        if error(v, step) < error(v, *best) {
            *best = step;
        }
    };
    for s in 4..=32 {
        let step = b * (s as f32 / 32.0);
        consider(&mut best, step);
        consider(&mut best, -step);
    }
    for _ in 0..2 {
        let c = sum_of_16(v.iter().map(|&v| v * at_step(v, best)));
        let s = sum_of_16(v.iter().map(|&v| at_step(v, best) * at_step(v, best)));
        if s != 0.0 {
            consider(&mut best, c / s);
        }
    }
    best
}

fn error(v: &[f32], step: f32) -> f32 {
    sum_of_16(v.iter().map(|&v| {
        let difference = v - at_step(v, step) * step;
        difference * difference
    }))
}

fn at_step(v: f32, step: f32) -> f32 {
    if step == 0.0 { 0.0 } else { nearest(v / step, -2.0, 1.0) }
}

/// In 16 lanes, which are then added in order.
fn sum_of_16(terms: impl Iterator<Item = f32>) -> f32 {
    let mut lanes = [0.0; 16];
    for (i, term) in terms.enumerate() {
        lanes[i % 16] += term;
    }
    lanes.iter().fold(0.0, |sum, lane| sum + lane)
}

fn nearest(x: f32, low: f32, high: f32) -> f32 {
    limit(x, low, high).round_ties_even()
}

fn limit(x: f32, low: f32, high: f32) -> f32 {
    x.max(low).min(high)
}

fn largest(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |largest, x| largest.max(x.abs()))
}

/// The greatest scale: 127 of it are still finite.
fn greatest() -> f32 {
    (f32::MAX / 127.0).next_down()
}

/// A row of quantized activations: each value stands for `scale * (q - zero_point)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Activations {
    /// `q`
    pub values: Vec<i8>,
    /// Of the row.
    pub scale: f32,
    /// Of the row; 0 if it is symmetric.
    pub zero_point: i32,
}

impl Activations {
    /// Symmetric about 0, as all layers do it.
    pub fn symmetric(x: &[f32]) -> Self {
        let x = finite(x);
        let a = largest(&x).max(127.0 * LEAST);
        let values = x.iter().map(|x| (x * (127.0 / a)).round_ties_even() as i8).collect();
        Self { values, scale: a / 127.0, zero_point: 0 }
    }

    /// With a zero point.
    pub fn with_zero_point(x: &[f32]) -> Self {
        let x = finite(x);
        let (low, high) = x.iter().fold((0f32, 0f32), |(low, high), &x| (low.min(x), high.max(x)));
        let scale = (high / 255.0 - low / 255.0).max(LEAST);
        let steps = |x: f32| (x * (1.0 / scale)).round_ties_even() as i32;
        let zero_point = (-128 - steps(low)).clamp(-128, 127);
        let values = x.iter().map(|&x| (steps(x) + zero_point).clamp(-128, 127) as i8).collect();
        Self { values, scale, zero_point }
    }
}

/// A row without NaNs and infinities.
fn finite(x: &[f32]) -> Vec<f32> {
    let finite: Vec<f32> = x.iter().map(|&x| if x.is_finite() { x } else { 0.0 }).collect();
    let a = if largest(&finite) == 0.0 { f32::MAX } else { largest(&finite) };
    let replaced = x.iter().map(|&x| match x {
        _ if x.is_nan() => 0.0,
        _ if x.is_infinite() => a.copysign(x),
        _ => x,
    });
    replaced.collect()
}
