//! Measures what was planned, as far as time allows.

use std::time::{Duration, Instant};

use skinny::Mat;
use skinny::kernels::WeightFormat;
use skinny::model::Session;

use super::grid::{Case, LayerCase, Plan};
use super::products::{Copies, microseconds};
use super::{answers, streams};
use crate::commands::bench::shape;
use crate::console::Console;
use crate::date;
use crate::error::{Failure, Result};
use crate::machine::Machine;
use crate::random::Random;
use crate::results::{Check, From, Layer, Product, Results, Time, Times, VERSION, Values};
use crate::timing::samples;

/// How long to measure until the check is repeated.
const CHECKED: Duration = Duration::from_secs(20);

/// Measures a machine.
pub fn all(plan: Plan, machine: Machine, note: Option<String>, console: Console) -> Result<Results> {
    let start = Instant::now();
    let times = if machine.emulator.is_some() { Times::Emulated } else { Times::Measured };
    let mut results = Results {
        version: VERSION,
        program: concat!("skinny ", env!("CARGO_PKG_VERSION")).into(),
        date: date::today(),
        times,
        note,
        machine,
        seconds: 0.0,
        left_out: 0,
        answers: answers::of_all_tiers()?,
        checks: Vec::new(),
        streams: Vec::new(),
        products: Vec::new(),
        layers: Vec::new(),
    };
    let mut progress = console.progress("measuring");
    let (all, mut done) = (plan.len(), 0);
    let late = || start.elapsed() > plan.limit;

    let mut checks = Checks::new(&plan, start)?;
    checks.repeat(&mut results)?;
    results.streams.extend(plan.streams.iter().filter_map(|&bytes| streams::time(bytes, plan.runs)));
    for case in &plan.cases {
        // Weights are made only if there is time for a product.
        let mut copies = None;
        for &batch in &case.batches {
            done += 1;
            if late() {
                results.left_out += 1;
                continue;
            }
            progress.at(done, all, &format!("{} {}x{}", case.tier, case.n, case.k));
            let copies = match &mut copies {
                Some(copies) => copies,
                none => none.insert(Copies::of(case, plan.footprint)?),
            };
            let us = copies.time(case.values, batch, plan.runs)?;
            results.products.extend(us.map(|us| product(case, batch, copies.bytes(), us)));
        }
        if checks.due() {
            checks.repeat(&mut results)?;
        }
    }
    for case in &plan.layers {
        done += 1;
        if late() {
            results.left_out += 1;
            continue;
        }
        progress.at(done, all, &case.shape);
        results.layers.extend(layer(case, &plan)?);
    }
    checks.repeat(&mut results)?;
    results.seconds = (start.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    Ok(results)
}

fn product(case: &Case, batch: usize, bytes: usize, us: Time) -> Product {
    let Case { tier, weights, n, k, values, from, .. } = *case;
    Product { tier: tier.name().into(), weights, n, k, batch, values, from, bytes, us }
}

/// The time of a step.
fn layer(case: &LayerCase, plan: &Plan) -> Result<Option<Layer>> {
    let shape = case.shape.parse().map_err(Failure::input)?;
    let model = shape::model(&[shape], None)?.quantize_to(case.weights, case.tier)?;
    let frame = Mat::from_vec(Random::new(7).floats(model.input_size()), 1, model.input_size())?;
    let mut session = Session::new(model.into())?;
    let seconds = samples(plan.runs, || session.push(frame.view()).map(drop))?;
    let LayerCase { tier, shape, weights } = case;
    let layer = |us| Layer { tier: tier.name().into(), shape: shape.clone(), weights: *weights, us };
    Ok(microseconds(seconds).map(layer))
}

/// One product, measured again and again to see whether the machine slows down.
struct Checks<'p> {
    plan: &'p Plan,
    copies: Copies,
    start: Instant,
    last: Instant,
}

impl<'p> Checks<'p> {
    fn new(plan: &'p Plan, start: Instant) -> Result<Self> {
        let tier = plan.cases.first().map_or(skinny::Tier::Portable, |case| case.tier);
        let weights = WeightFormat::I8;
        let case = Case { tier, weights, n: 256, k: 256, values: Values::I8, from: From::Cache, batches: Vec::new() };
        Ok(Self { plan, copies: Copies::of(&case, 0)?, start, last: start })
    }

    fn due(&self) -> bool {
        self.last.elapsed() > CHECKED
    }

    fn repeat(&mut self, results: &mut Results) -> Result<()> {
        let at = (self.start.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        let us = self.copies.time(Values::I8, 4, self.plan.runs)?;
        let moment = results.machine.moment();
        results.checks.extend(us.map(|us| Check { at, us, moment }));
        self.last = Instant::now();
        Ok(())
    }
}
