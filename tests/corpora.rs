//! Replays the corpora of the fuzz targets that need no feature: the seeds, and what fuzzing found.

#[path = "common/bytes.rs"]
mod bytes;
#[path = "common/formulas.rs"]
mod formulas;
#[path = "common/hostile_gemm.rs"]
mod hostile_gemm;
#[path = "common/hostile_unsigned.rs"]
mod hostile_unsigned;
#[path = "common/random.rs"]
mod random;

use std::path::Path;

/// The inputs in the corpus of a target.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    let inputs: Vec<_> = files.collect();
    assert!(!inputs.is_empty(), "the corpus is empty");
    inputs
}

/// The inputs in the corpus of a target, and each of them damaged in `times` ways.
fn damaged(target: &str, times: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut random = random::Random::new(times as u64);
    corpus(target).into_iter().flat_map(move |input| {
        let mut inputs = vec![input.clone()];
        for _ in 0..times {
            let mut damaged = input.clone();
            for _ in 0..random.within(1, 4) {
                let at = random.within(0, damaged.len() as i32 - 1) as usize;
                damaged[at] = random.bits() as u8;
            }
            if random.within(0, 3) == 0 {
                damaged.truncate(random.within(0, damaged.len() as i32) as usize);
            }
            inputs.push(damaged);
        }
        inputs
    })
}

#[test]
fn products_are_refused_or_right() {
    damaged("gemm", 40).for_each(|input| hostile_gemm::multiply(&input));
}

#[test]
fn unsigned_products_are_refused_or_right() {
    damaged("unsigned", 40).for_each(|input| hostile_unsigned::multiply_unsigned(&input));
}
