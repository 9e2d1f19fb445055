//! The constants of a core from measurements: few lines of least squares.

mod least_squares;

use std::collections::BTreeSet;

use skinny::compress::Core;
use skinny::kernels::WeightFormat;

use self::least_squares::{Equation, solve};
use crate::precision;
use crate::results::{From, Product, Results, Values, rounded};

/// The batches that a core has rates for.
pub const BATCHES: [usize; 4] = [1, 2, 4, 8];

/// The formats that a core has rates for, the ones with the same rates side by side.
const RATES: [&[WeightFormat]; 3] =
    [&[WeightFormat::I8], &[WeightFormat::I4], &[WeightFormat::I4Group32, WeightFormat::I2Group64]];

/// The unknowns: an inverse rate for each of `RATES` and `BATCHES`, then what a call, a column and an input take.
const UNKNOWNS: usize = RATES.len() * BATCHES.len() + 3;
const CALLS: usize = UNKNOWNS - 3;

type Solution = [f64; UNKNOWNS];

/// A product waits for memory if it takes so many times as long as with weights from a cache, and reads them at such a share of
/// what plain reads reach. Otherwise other work has disturbed it.
const WAITS: f64 = 1.25;
const SHARE: f64 = 0.25;

/// A core, and how far its predictions are from what they were fitted to.
#[derive(Clone, Debug)]
pub struct Fit {
    pub core: Core,
    /// Errors of products whose shape was left out of the fit, with weights in a cache.
    pub left_out: Errors,
    /// Errors of the fitted products.
    pub from_cache: Errors,
    pub from_memory: Errors,
    /// Whether products waited for memory, so that they say how fast it is.
    pub memory_bound: bool,
    /// Whether the clock is known. Otherwise a cycle is a nanosecond.
    pub clock_known: bool,
}

/// Relative errors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Errors {
    pub count: usize,
    pub median: f64,
    /// The 90th percentile.
    pub most: f64,
}

impl Errors {
    pub fn of(mut errors: Vec<f64>) -> Self {
        errors.sort_by(f64::total_cmp);
        let at = |share: f64| errors.get((errors.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
        Self { count: errors.len(), median: at(0.5), most: at(0.9) }
    }
}

/// A product, and its time in cycles as an equation.
struct Row<'r> {
    product: &'r Product,
    equation: Equation<UNKNOWNS>,
}

impl<'r> Row<'r> {
    fn of(product: &'r Product, cycles_per_us: f64) -> Option<Self> {
        let rate = RATES.iter().position(|formats| formats.contains(&product.weights))?;
        let batch = BATCHES.iter().position(|&batch| batch == product.batch)?;
        let (n, k, columns) = (product.n as f64, product.k as f64, product.batch as f64);
        let mut coefficients = [0.0; UNKNOWNS];
        coefficients[rate * BATCHES.len() + batch] = n * k * columns;
        coefficients[CALLS..].copy_from_slice(&[1.0, columns, columns * k]);
        Some(Self { product, equation: Equation { coefficients, value: product.us.least() * cycles_per_us } })
    }

    fn shape(&self) -> (usize, usize) {
        (self.product.n, self.product.k)
    }

    fn error(&self, solution: &Solution) -> f64 {
        relative(self.equation.predicted(solution), self.equation.value)
    }

    /// Whether the other is the same product, with weights from elsewhere.
    fn is_like(&self, other: &Row<'_>) -> bool {
        let kind = |product: &Product| (product.n, product.k, product.batch, product.weights);
        kind(self.product) == kind(other.product)
    }

    /// What a call takes, and what arithmetic takes.
    fn parts(&self, solution: &Solution) -> (f64, f64) {
        let mut calls = *solution;
        calls[..CALLS].fill(0.0);
        let call = self.equation.predicted(&calls);
        (call, self.equation.predicted(solution) - call)
    }

    /// The bandwidth in bytes per cycle, if memory takes all the time but that of the call and the exposed share of arithmetic.
    fn bytes_per_cycle(&self, solution: &Solution, exposed: f64) -> f64 {
        let (call, arithmetic) = self.parts(solution);
        self.product.bytes as f64 / (self.equation.value - call - exposed * arithmetic)
    }

    fn error_from_memory(&self, solution: &Solution, bytes_per_cycle: f64, exposed: f64) -> f64 {
        let (call, arithmetic) = self.parts(solution);
        let memory = self.product.bytes as f64 / bytes_per_cycle;
        relative(call + memory.max(arithmetic) + exposed * memory.min(arithmetic), self.equation.value)
    }
}

/// The constants that these products follow.
fn constants<'r>(rows: impl Iterator<Item = &'r Row<'r>>) -> Result<Solution, String> {
    let equations: Vec<&Equation<UNKNOWNS>> = rows.map(|row| &row.equation).collect();
    for (i, unknown) in (0..CALLS).map(|i| (i, i / BATCHES.len())) {
        if equations.iter().all(|equation| equation.coefficients[i] == 0.0) {
            let (format, batch) = (precision::name(Some(RATES[unknown][0])), BATCHES[i % BATCHES.len()]);
            return Err(format!(
                "no products in {format} at a batch of {batch}, from f32 to f32 with weights in a cache"
            ));
        }
    }
    let solution = solve(&equations).ok_or("too few shapes to tell what a call takes from what arithmetic takes")?;
    match solution[..CALLS].iter().position(|&inverse| inverse <= 0.0) {
        None => Ok(solution),
        Some(i) => {
            let (format, batch) = (precision::name(Some(RATES[i / BATCHES.len()][0])), BATCHES[i % BATCHES.len()]);
            Err(format!("products in {format} at a batch of {batch} do not take longer if they are larger"))
        }
    }
}

/// The core that the results of the best tier's products follow.
pub fn fit(results: &Results, name: String) -> Result<Fit, String> {
    let clock = clock(results);
    let cycles_per_us = clock.unwrap_or(1000.0);
    let tier = results.best_tier();
    let of = |from: From| {
        let products = results
            .products
            .iter()
            .filter(|product| product.tier == tier && product.values == Values::F32 && product.from == from);
        products.filter_map(|product| Row::of(product, cycles_per_us)).collect::<Vec<_>>()
    };
    let (cache, memory) = (of(From::Cache), of(From::Memory));
    let solution = constants(cache.iter())?;

    let shapes: BTreeSet<(usize, usize)> = cache.iter().map(Row::shape).collect();
    let mut left_out = Vec::new();
    for shape in shapes {
        // Without this shape the others may not suffice.
        if let Ok(others) = constants(cache.iter().filter(|row| row.shape() != shape)) {
            left_out.extend(cache.iter().filter(|row| row.shape() == shape).map(|row| row.error(&others)));
        }
    }

    let streamed = results.bytes_per_us().ok_or("nothing was streamed from memory")?;
    let waits = |row: &&Row<'_>| {
        let cached = cache.iter().find(|cached| cached.is_like(row));
        cached.is_some_and(|cached| row.equation.value > WAITS * cached.equation.value)
    };
    let waiting: Vec<&Row<'_>> = memory.iter().filter(waits).collect();
    // The share that is exposed with which one bandwidth explains the products best.
    let mut best: Option<(f64, f64, Vec<f64>)> = None;
    for exposed in (0..=20).map(|i| f64::from(i) / 20.0) {
        let bytes = waiting.iter().map(|row| row.bytes_per_cycle(&solution, exposed) * cycles_per_us);
        let bytes: Vec<f64> = bytes.filter(|bytes| (SHARE * streamed..f64::INFINITY).contains(bytes)).collect();
        let Some(bytes_per_us) = median(bytes.clone()) else { continue };
        let errors = memory.iter().map(|row| row.error_from_memory(&solution, bytes_per_us / cycles_per_us, exposed));
        let error = errors.map(|error| error.min(1.0)).sum();
        if best.as_ref().is_none_or(|(least, ..)| error < *least) {
            best = Some((error, exposed, bytes));
        }
    }
    let memory_bound = best.is_some();
    let (_, exposed, bytes) = best.unwrap_or((0.0, 0.0, vec![streamed]));
    let bytes_per_us = median(bytes.clone()).unwrap_or(streamed);
    let least = bytes.iter().copied().fold(streamed, f64::min);
    let most = bytes.iter().copied().fold(streamed, f64::max);

    let rates = |rate: usize| std::array::from_fn(|batch| rounded(1.0 / solution[rate * BATCHES.len() + batch]));
    let core = Core {
        name,
        cycles_per_us,
        bytes_per_us: rounded(bytes_per_us),
        bytes_per_us_range: [least, most].map(rounded),
        exposed,
        i8_macs_per_cycle: rates(0),
        i4_macs_per_cycle: rates(1),
        grouped_macs_per_cycle: rates(2),
        call_cycles: rounded(solution[CALLS]),
        column_cycles: rounded(solution[CALLS + 1]),
        input_cycles: rounded(solution[CALLS + 2]),
    };
    Ok(Fit {
        left_out: Errors::of(left_out),
        from_cache: Errors::of(cache.iter().map(|row| row.error(&solution)).collect()),
        from_memory: errors(&core, memory.iter().map(|row| row.product)),
        memory_bound,
        clock_known: clock.is_some(),
        core,
    })
}

/// The errors of a core's predictions.
pub fn errors<'p>(core: &Core, products: impl Iterator<Item = &'p Product>) -> Errors {
    let error = |product: &Product| relative(predicted_us(core, product), product.us.least());
    Errors::of(products.map(error).collect())
}

/// What the core predicts. Weights in a cache take no time to arrive.
pub fn predicted_us(core: &Core, product: &Product) -> f64 {
    let core = match product.from {
        From::Cache => &core.with_bytes_per_us(f64::INFINITY),
        From::Memory => core,
    };
    core.call_us(product.n, product.k, Some(product.weights), product.batch)
}

fn relative(predicted: f64, found: f64) -> f64 {
    (predicted / found - 1.0).abs()
}

/// The clock during the measurements in MHz: as it was at the checks, or the highest that the core has.
fn clock(results: &Results) -> Option<f64> {
    let moments = || results.checks.iter().map(|check| &check.moment);
    let stated = || {
        let core = moments().find_map(|moment| moment.core)?;
        results.machine.cores_like(core)?.mhz_range.map(|[_, highest]| highest)
    };
    median(moments().filter_map(|moment| moment.mhz).collect()).or_else(stated)
}

fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Moment;
    use crate::results::file::tests::some;
    use crate::results::{Check, Stream, Time};

    const SHAPES: [(usize, usize); 8] =
        [(16, 16), (64, 64), (192, 64), (16, 1024), (1024, 128), (128, 1024), (768, 256), (6144, 320)];

    fn core() -> Core {
        Core {
            name: "made-up".into(),
            cycles_per_us: 1500.0,
            bytes_per_us: 2500.0,
            bytes_per_us_range: [2500.0, 4000.0],
            exposed: 0.3,
            i8_macs_per_cycle: [7.4, 7.6, 8.5, 8.6],
            i4_macs_per_cycle: [7.5, 7.3, 9.3, 9.2],
            grouped_macs_per_cycle: [6.0, 6.2, 6.6, 6.7],
            call_cycles: 400.0,
            column_cycles: 250.0,
            input_cycles: 1.3,
        }
    }

    /// What a machine with this core measures, each time multiplied by what `disturb` says of its number.
    fn measured(core: &Core, disturb: impl Fn(usize) -> f64) -> Results {
        let mut results = some();
        results.products.clear();
        let fast = core.with_bytes_per_us(f64::INFINITY);
        for weights in WeightFormat::ALL {
            for (n, k) in SHAPES {
                for batch in BATCHES {
                    for (from, core) in [(From::Cache, &fast), (From::Memory, core)] {
                        if from == From::Memory && n * k < 100_000 {
                            continue;
                        }
                        let us = core.call_us(n, k, Some(weights), batch) * disturb(results.products.len());
                        let bytes = match weights {
                            WeightFormat::I8 => n * k,
                            WeightFormat::I4 => n * k / 2,
                            WeightFormat::I4Group32 => n * k / 2 + n * k / 32,
                            _ => n * k / 4 + n * k / 64,
                        };
                        results.products.push(Product {
                            tier: "neon".into(),
                            weights,
                            n,
                            k,
                            batch,
                            values: Values::F32,
                            from,
                            bytes: bytes + 4 * n,
                            us: Time::of(vec![us]).unwrap(),
                        });
                    }
                }
            }
        }
        let moment = Moment { mhz: Some(core.cycles_per_us), ..Moment::default() };
        results.checks = vec![Check { at: 0.0, us: Time::of(vec![1.0]).unwrap(), moment }];
        let us = f64::from(1 << 26) / core.bytes_per_us_range[1];
        results.streams = vec![Stream { bytes: 1 << 26, us: Time::of(vec![us]).unwrap() }];
        results
    }

    fn near(found: &Core, expected: &Core, error: f64) {
        let rates =
            |core: &Core| [core.i8_macs_per_cycle, core.i4_macs_per_cycle, core.grouped_macs_per_cycle].concat();
        let numbers = |core: &Core| {
            [
                rates(core),
                vec![core.cycles_per_us, core.bytes_per_us, core.call_cycles, core.column_cycles, core.input_cycles],
            ]
            .concat()
        };
        for (found, expected) in numbers(found).into_iter().zip(numbers(expected)) {
            assert!((found / expected - 1.0).abs() < error, "{found} for {expected}");
        }
    }

    #[test]
    fn a_core_is_found_from_its_times() {
        let fit = fit(&measured(&core(), |_| 1.0), "found".into()).unwrap();
        near(&fit.core, &core(), 0.01);
        assert_eq!(fit.core.exposed, 0.3);
        assert!(fit.memory_bound && fit.clock_known);
        assert!(fit.from_cache.most < 0.01 && fit.left_out.most < 0.01 && fit.from_memory.most < 0.02, "{fit:?}");
        assert_eq!((fit.from_cache.count, fit.left_out.count, fit.core.name.as_str()), (128, 128, "found"));
        let [least, most] = fit.core.bytes_per_us_range;
        assert!((2400.0..2550.0).contains(&least) && (3990.0..4010.0).contains(&most), "{least} {most}");
    }

    /// One in nine times three times as long, and the others off by up to 2%.
    #[test]
    fn other_work_on_the_machine_hardly_matters() {
        let disturb = |i: usize| if i % 9 == 4 { 3.0 } else { 1.0 + 0.02 * ((i * 37 % 41) as f64 / 20.0 - 1.0) };
        let fit = fit(&measured(&core(), disturb), "found".into()).unwrap();
        near(&fit.core, &core(), 0.15);
        assert!(fit.from_cache.median < 0.03 && fit.from_cache.most > 0.1, "{fit:?}");
    }

    #[test]
    fn a_core_that_never_waits_has_the_bandwidth_of_plain_reads() {
        let mut fast = Core { bytes_per_us: 40_000.0, bytes_per_us_range: [40_000.0; 2], ..core() };
        let mut results = measured(&fast, |_| 1.0);
        // Without a clock, cycles are nanoseconds.
        results.checks[0].moment.mhz = None;
        let fit = fit(&results, "found".into()).unwrap();
        let per_ns = |rate: f64| rate * fast.cycles_per_us / 1000.0;
        fast.i8_macs_per_cycle = fast.i8_macs_per_cycle.map(per_ns);
        fast.i4_macs_per_cycle = fast.i4_macs_per_cycle.map(per_ns);
        fast.grouped_macs_per_cycle = fast.grouped_macs_per_cycle.map(per_ns);
        fast.call_cycles /= 1.5;
        fast.column_cycles /= 1.5;
        fast.input_cycles /= 1.5;
        fast.cycles_per_us = 1000.0;
        near(&fit.core, &fast, 0.01);
        assert!(!fit.memory_bound && !fit.clock_known);
    }

    #[test]
    fn results_that_do_not_suffice_are_told_apart() {
        let refused = |change: fn(&mut Results)| {
            let mut results = measured(&core(), |_| 1.0);
            change(&mut results);
            fit(&results, "found".into()).unwrap_err()
        };
        let told = refused(|results| results.products.retain(|p| p.weights != WeightFormat::I4 || p.batch != 4));
        assert!(told.contains("no products in int4 at a batch of 4"), "{told}");
        let told = refused(|results| results.products.iter_mut().for_each(|p| p.values = Values::I8));
        assert!(told.contains("no products in int8 at a batch of 1"), "{told}");
        let told = refused(|results| results.products.retain(|p| (p.n, p.k) == (64, 64)));
        assert!(told.contains("too few shapes"), "{told}");
        let told = refused(|results| results.streams.clear());
        assert!(told.contains("nothing was streamed"), "{told}");
        let told = refused(|results| {
            results.products.iter_mut().for_each(|p| p.us = Time::of(vec![1e6 / (p.n * p.k) as f64]).unwrap());
        });
        assert!(told.contains("do not take longer if they are larger"), "{told}");
    }
}
