//! In the steady state, layers allocate nothing: counted by an allocator of this test's own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use skinny::factored::{Gru, Linear, LowRank, LowRankLinear, Scratch, Weight};
use skinny::kernels::{Activation, Requantize, Shift, Sums};
use skinny::quant::{UnsignedMat, UnsignedWorkspace};
use skinny::{Mat, MatMut, MatRef, Tier};

struct Counting;

thread_local! {
    /// Calls of this thread, so that the test harness's own do not count.
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // The thread may be ending, when there is nothing to count any more.
    let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
}

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count();
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `step` once to warm up, then counts.
fn assert_allocates_nothing(what: &str, mut step: impl FnMut()) {
    step();
    let before = CALLS.get();
    for _ in 0..5 {
        step();
    }
    assert_eq!(CALLS.get() - before, 0, "{what} allocates");
}

fn mat(rows: usize, cols: usize) -> Mat<f32> {
    let value = |i: usize| ((i * 37 + 11) % 101) as f32 / 101.0 - 0.5;
    Mat::from_vec((0..rows * cols).map(value).collect(), rows, cols).unwrap()
}

fn low_rank(n: usize, k: usize, rank: usize) -> LowRank {
    LowRank::from_factors(mat(n, rank), mat(rank, k)).unwrap()
}

#[test]
fn the_counter_counts() {
    let before = CALLS.get();
    drop(std::hint::black_box(vec![1u8; 100]));
    assert!(CALLS.get() - before >= 2);
}

#[test]
fn linear_layers_allocate_nothing() {
    let (n, k, m) = (70, 45, 4);
    let x = mat(m, k);
    let mut y = vec![0.0; m * n];
    let mut scratch = Scratch::new();
    let dense = Linear::new(Weight::dense(mat(n, k)).unwrap(), Some(vec![0.1; n])).unwrap();
    let factored = Linear::new(low_rank(n, k, 9), Some(vec![0.1; n])).unwrap();
    let mut layers = vec![("f32 dense", dense.clone()), ("f32 factored", factored.clone())];
    for &tier in Tier::available() {
        layers.push(("int8 dense", dense.quantize(tier).unwrap()));
        layers.push(("int8 factored", factored.quantize(tier).unwrap()));
    }
    for (what, layer) in layers {
        assert_allocates_nothing(what, || {
            for m in [m, 1, 3] {
                let x = MatRef::new(&x.as_slice()[..m * k], m, k).unwrap();
                layer.forward(x, MatMut::new(&mut y[..m * n], m, n).unwrap(), &mut scratch).unwrap();
            }
        });
    }
}

#[test]
fn low_rank_products_allocate_nothing() {
    let (n, k, m) = (70, 45, 4);
    let x = mat(m, k);
    let mut y = vec![0.0; m * n];
    let layer = LowRankLinear::from(low_rank(n, k, 9));
    let mut layers = vec![layer.clone()];
    layers.extend(Tier::available().iter().map(|&tier| layer.quantize(tier).unwrap()));
    for layer in layers {
        let mut scratch = Scratch::new();
        assert_allocates_nothing(layer.u().format(), || {
            let out = MatMut::new(&mut y, m, n).unwrap();
            layer.apply(x.view(), None, Activation::Identity, out, &mut scratch).unwrap();
        });
    }
}

#[test]
fn recurrent_layers_allocate_nothing() {
    let (input, hidden, time) = (45, 40, 11);
    let bias = || Some(vec![0.1; 3 * hidden]);
    let weights = || (Weight::dense(mat(3 * hidden, input)).unwrap(), Weight::dense(mat(3 * hidden, hidden)).unwrap());
    let dense = Gru::new(weights().0, weights().1, bias(), bias()).unwrap();
    let factors = (low_rank(3 * hidden, input, 9), low_rank(3 * hidden, hidden, 7));
    let factored = Gru::new(factors.0, factors.1, bias(), bias()).unwrap();
    let mut layers = vec![("f32 dense", dense.clone()), ("f32 factored", factored.clone())];
    for &tier in Tier::available() {
        layers.push(("int8 dense", dense.quantize(tier).unwrap()));
        layers.push(("int8 factored", factored.quantize(tier).unwrap()));
    }
    let x = mat(time, input);
    let mut out = vec![0.0; time * hidden];
    for (what, layer) in layers {
        let mut state = layer.state().unwrap();
        let mut scratch = Scratch::new();
        assert_allocates_nothing(what, || {
            let out = MatMut::new(&mut out, time, hidden).unwrap();
            layer.forward(x.view(), &mut state, out, &mut scratch).unwrap();
            layer.step(x.view().row(0), &mut state, &mut scratch).unwrap();
            state.reset();
        });
    }
}

#[test]
fn unsigned_products_allocate_nothing() {
    let (n, k, m) = (70, 45, 12);
    let (lhs, rhs) = (vec![200u8; n * k], vec![3u8; m * k]);
    let (mut sums, mut bytes) = (vec![0i32; m * n], vec![0u8; m * n]);
    let shift = Requantize::new(Shift { offset: 9, multiplier: 5, shift: 7 });
    for &tier in Tier::available() {
        let mat = UnsignedMat::pack(MatRef::new(&lhs, n, k).unwrap(), tier).unwrap();
        let mut workspace = UnsignedWorkspace::new();
        assert_allocates_nothing(tier.name(), || {
            for m in [m, 1, 3] {
                let rhs = MatRef::new(&rhs[..m * k], m, k).unwrap();
                let out = MatMut::new(&mut sums[..m * n], m, n).unwrap();
                mat.multiply(-128, rhs, -5, &Sums, out, &mut workspace).unwrap();
                let out = MatMut::new(&mut bytes[..m * n], m, n).unwrap();
                mat.multiply(-128, rhs, -5, &shift, out, &mut workspace).unwrap();
            }
        });
    }
}
