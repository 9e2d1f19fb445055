//! Matrices with all kinds of singular values. tests/numpy/singular_values.py makes the same ones.

/// A linear congruential generator of 32 bits, of which the upper 24 are used.
struct Random(u32);

impl Random {
    fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0 >> 8
    }

    fn below(&mut self, n: u32) -> i32 {
        (self.bits() % n) as i32
    }

    fn uniform(&mut self) -> f64 {
        f64::from(self.bits()) / f64::from(1 << 23) - 1.0
    }

    fn gaussian(&mut self) -> f64 {
        (0..4).fold(0.0, |sum, _| sum + self.uniform())
    }
}

fn fill(count: usize, draw: impl FnMut() -> f64) -> Vec<f64> {
    core::iter::repeat_with(draw).take(count).collect()
}

/// The sum of the outer products of the columns of `a` and the rows of `b`, each divided, in this order.
fn product(a: &[f64], b: &[f64], divisors: &[f64]) -> Vec<f64> {
    let (rows, cols) = (a.len() / divisors.len(), b.len() / divisors.len());
    let mut w = vec![0.0; rows * cols];
    for (i, divisor) in divisors.iter().enumerate() {
        for (row, w) in w.chunks_mut(cols).enumerate() {
            for (w, b) in w.iter_mut().zip(&b[i * cols..]) {
                *w += a[row * divisors.len() + i] * b / divisor;
            }
        }
    }
    w
}

/// `rows x cols` numbers of a family, times `2^exponent`.
pub fn matrix(family: &str, rows: usize, cols: usize, seed: u32, exponent: i32) -> Vec<f32> {
    let (mut random, len) = (Random(seed), rows * cols);
    let by_place = |f: &dyn Fn(usize, usize) -> f64| -> Vec<f64> { (0..len).map(|i| f(i / cols, i % cols)).collect() };
    let few = 1 + (seed % 40) as usize;
    let w = match family {
        "gaussian" => fill(len, || random.gaussian()),
        "decaying" => {
            let d = rows.min(cols);
            let (a, b) = (fill(rows * d, || random.uniform()), fill(d * cols, || random.uniform()));
            let squares: Vec<f64> = (1..=d).map(|i| (i * i) as f64).collect();
            product(&a, &b, &squares)
        }
        "floor" => {
            let (a, b) = (fill(rows * 4, || random.uniform()), fill(4 * cols, || random.uniform()));
            let mut w = product(&a, &b, &[1.0; 4]);
            w.iter_mut().for_each(|w| *w += random.uniform() * 2f64.powi(-14));
            w
        }
        "rows" => {
            let base = fill(few * cols, || random.uniform());
            let picks: Vec<usize> = (0..rows).map(|_| random.below(few as u32) as usize).collect();
            by_place(&|row, column| base[picks[row] * cols + column])
        }
        "columns" => {
            let base = fill(rows * few, || random.uniform());
            by_place(&|row, column| base[row * few + column % few])
        }
        "integers" => {
            let mut small = || f64::from(random.below(5) - 2);
            let (a, b) = (fill(rows * 5, &mut small), fill(5 * cols, &mut small));
            product(&a, &b, &[1.0; 5])
        }
        "ternary" => fill(len, || f64::from(random.below(3) - 1)),
        "pattern" => by_place(&|row, column| (row * column % 3) as f64 - 1.0),
        "blocks" => {
            let mut w = by_place(&|_, _| 0.0);
            for row in 0..rows {
                let start = (row / 16 * 16).min(cols);
                w[row * cols..][start..(start + 16).min(cols)].fill_with(|| random.uniform());
            }
            w
        }
        "graded" => (0..len).map(|i| random.uniform() * 2f64.powi(-((40 * (i % cols) / cols) as i32))).collect(),
        "mixed" => fill(len, || random.uniform() * 2f64.powi(random.below(201) - 100)),
        "ones" => vec![1.0; len],
        "identity" => by_place(&|row, column| f64::from(u8::from(row == column))),
        "zeros" => vec![0.0; len],
        _ => panic!("no family {family}"),
    };
    w.into_iter().map(|w| (w * 2f64.powi(exponent)) as f32).collect()
}
