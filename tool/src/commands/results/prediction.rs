//! The cores that predict what a machine takes.

use skinny::compress::Core;

use crate::fit::{Errors, errors, fit, predicted_us};
use crate::results::{Product, Results, Times};

/// A core, and what it comes from.
pub struct Prediction {
    pub core: Core,
    pub kind: &'static str,
}

impl Prediction {
    pub fn us(&self, product: &Product) -> f64 {
        predicted_us(&self.core, product)
    }

    pub fn errors<'p>(&self, products: impl Iterator<Item = &'p Product>) -> Errors {
        errors(&self.core, products)
    }
}

/// The crate's core of this name, if it has one, and the one that the results follow. The error says why there is none.
pub fn of(results: &Results) -> Result<Vec<Prediction>, String> {
    if results.times == Times::Emulated {
        return Ok(Vec::new());
    }
    let core = results.checks.iter().find_map(|check| check.moment.core);
    let cores = core.and_then(|core| results.machine.cores_like(core)).or(results.machine.cores.first());
    let known = cores.and_then(|cores| Core::named(cores.name.as_deref()?));
    let known = known.map(|core| Prediction { core, kind: "the crate's model" });
    match fit(results, "fitted".into()) {
        Ok(fit) => Ok(known.into_iter().chain([Prediction { core: fit.core, kind: "a fit to the file" }]).collect()),
        Err(_) if known.is_some() => Ok(known.into_iter().collect()),
        Err(cause) => Err(cause),
    }
}
