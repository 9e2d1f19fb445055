//! Whole calls of the crate's products, for gem5, qemu or a board:
//!
//!     simulated-product MODE N K BATCHES REPS COPIES
//!
//! MODE: i8 (i8 in, i8 out, a float scale a row), i8u (u8 with offsets, u8 out), i4 (4 bits, a scale a row), i4g (4 bits
//! in groups of 32), i2 (2 bits in groups of 64), rd (reads the bytes, prefetched 640 ahead: the memory's floor). BATCHES: comma-separated. For each
//! batch two calls to warm up, then REPS regions of interest of CALLS calls (from the environment, else 1), going round
//! COPIES packed copies of the weights (1 is "hot"). One line a batch: the clock's microseconds a call of each region.
//! In the environment: ROI_GEM5, a region is between m5 reset-stats and dump-stats, and an m5 exit before the first
//! batch lets the simulator change cores; VERIFY, sums are compared with the oracle's first; SKINNY_TIER.
//!
//! No runtime start-up of std, as gem5 lacks ppoll: a C `main`, linked statically.
#![no_main]

use std::arch::asm;
use std::ffi::{CStr, c_char, c_int};
use std::hint::black_box;
use std::time::Instant;

use skinny::kernels::{
    Activations, GROUP, GROUP_I2, MAX_I4, PackedMat, Requantize, RequantizeFloat, Scales, Shift, Sums, UnsignedMat, UnsignedWorkspace,
    Workspace, gemm, reference,
};
use skinny::{MatMut, MatRef, Tier};

fn random_bytes(seed: u64, len: usize) -> Vec<i8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend((z ^ (z >> 31)).to_le_bytes().map(|byte| (byte as i8).max(-127)));
    }
    bytes.truncate(len);
    bytes
}

#[inline(always)]
fn m5_reset(on: bool) {
    #[cfg(target_arch = "aarch64")]
    if on {
        unsafe { asm!("mov x0, #0", "mov x1, #0", ".inst 0xff400110", out("x0") _, out("x1") _) }
    }
    let _ = on;
}

#[inline(always)]
fn m5_dump(on: bool) {
    #[cfg(target_arch = "aarch64")]
    if on {
        unsafe { asm!("mov x0, #0", "mov x1, #0", ".inst 0xff410110", out("x0") _, out("x1") _) }
    }
    let _ = on;
}

/// m5 exit: the simulator switches to the detailed core there.
#[inline(always)]
fn m5_exit(on: bool) {
    #[cfg(target_arch = "aarch64")]
    if on {
        unsafe { asm!("mov x0, #0", ".inst 0xff210110", out("x0") _) }
    }
    let _ = on;
}

/// Reads lines in order, each prefetched 640 bytes ahead.
#[cfg(target_arch = "aarch64")]
fn read(bytes: &[i8]) {
    let lines = bytes.len() / 64;
    if lines > 0 {
        // SAFETY: reads whole lines of the slice.
        unsafe {
            asm!(
                "2:", "prfm pldl1keep, [{p}, #640]", "ldr q0, [{p}]", "add {p}, {p}, #64", "subs {n}, {n}, #1", "b.ne 2b",
                p = inout(reg) bytes.as_ptr() => _, n = inout(reg) lines => _, out("v0") _, options(readonly, nostack)
            )
        }
    }
}
#[cfg(not(target_arch = "aarch64"))]
fn read(bytes: &[i8]) {
    black_box(bytes.iter().map(|&b| i32::from(b)).sum::<i32>());
}

enum Weights {
    Bytes(Vec<Vec<i8>>),
    Signed(Vec<PackedMat>),
    Unsigned(Vec<UnsignedMat>),
}

#[unsafe(no_mangle)]
pub extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    let args: Vec<&str> = (0..argc as usize)
        .map(|i| unsafe { CStr::from_ptr(*argv.add(i)) }.to_str().expect("UTF-8"))
        .collect();
    let number = |i: usize| args[i].parse::<usize>().expect("a number");
    let (mode, n, k, reps, copies) = (args[1], number(2), number(3), number(5), number(6));
    let batches: Vec<usize> = args[4].split(',').map(|m| m.parse().expect("a batch")).collect();
    let gem5 = std::env::var_os("ROI_GEM5").is_some();
    let calls: usize = std::env::var("CALLS").ok().map_or(1, |c| c.parse().expect("CALLS"));
    let tier = Tier::select().expect("SKINNY_TIER");

    let mut bytes = random_bytes(1, n * k);
    if mode.starts_with("i4") {
        // -7..=7
        bytes.iter_mut().for_each(|w| *w = (*w >> 4).max(-MAX_I4));
    }
    if mode == "i2" {
        // -2..=1
        bytes.iter_mut().for_each(|w| *w >>= 6);
    }
    let weights = MatRef::new(&bytes, n, k).expect("shape");
    let groups = k.div_ceil(GROUP);
    let first = match mode {
        "rd" => Weights::Bytes(vec![bytes.clone()]),
        "i8" => Weights::Signed(vec![PackedMat::for_tier(weights, tier).expect("pack")]),
        "i4" => Weights::Signed(vec![PackedMat::i4_for_tier(weights, tier).expect("pack")]),
        "i4g" => {
            let multipliers: Vec<u8> = random_bytes(3, n * groups).into_iter().map(i8::unsigned_abs).collect();
            let multipliers = MatRef::new(&multipliers, n, groups).expect("shape");
            Weights::Signed(vec![PackedMat::i4_grouped_for_tier(weights, multipliers, tier).expect("pack")])
        }
        "i2" => {
            let groups = k.div_ceil(GROUP_I2);
            let multipliers: Vec<i8> = random_bytes(3, n * groups).into_iter().map(|m| m / 2).collect();
            let multipliers = MatRef::new(&multipliers, n, groups).expect("shape");
            Weights::Signed(vec![PackedMat::i2_grouped_for_tier(weights, multipliers, tier).expect("pack")])
        }
        "i8u" => {
            let unsigned: Vec<u8> = bytes.iter().map(|&b| b as u8).collect();
            Weights::Unsigned(vec![UnsignedMat::pack(MatRef::new(&unsigned, n, k).expect("shape"), tier).expect("pack")])
        }
        _ => panic!("MODE?"),
    };
    let weights = match first {
        Weights::Bytes(w) => Weights::Bytes((0..copies).map(|_| w[0].clone()).collect()),
        Weights::Signed(w) => Weights::Signed((0..copies).map(|_| w[0].clone()).collect()),
        Weights::Unsigned(w) => Weights::Unsigned((0..copies).map(|_| w[0].clone()).collect()),
    };
    let scales = Scales::new(vec![1.0 / (127.0 * (k.max(1) as f32).sqrt()); n]).expect("finite");
    println!("{mode} {n}x{k} tier {tier} copies {copies} calls {calls}");

    let multipliers: Vec<u8> = random_bytes(3, n * groups).into_iter().map(i8::unsigned_abs).collect();
    let max = batches.iter().copied().max().expect("a batch");
    let x = random_bytes(2, max * k);
    let xu: Vec<u8> = x.iter().map(|&b| b as u8).collect();
    let mut out = vec![0i8; max * n];
    let mut outu = vec![0u8; max * n];
    let mut workspace = Workspace::new();
    let mut unsigned_workspace = UnsignedWorkspace::new();
    if let (Weights::Signed(w), true) = (&weights, std::env::var_os("VERIFY").is_some()) {
        for &m in &batches {
            let x = MatRef::new(&x[..m * k], m, k).expect("shape");
            let mut sums = vec![0i32; m * n];
            let out = MatMut::new(&mut sums, m, n).expect("shape");
            gemm(&w[0], Activations::new(x), &Sums, out, &mut workspace).expect("fits");
            let bytes = MatRef::new(&bytes, n, k).expect("shape");
            let expected = match mode {
                "i4g" => reference::gemm_grouped(bytes, MatRef::new(&multipliers, n, groups).expect("shape"), x),
                "i2" => {
                    let groups = k.div_ceil(GROUP_I2);
                    let multipliers: Vec<i8> = random_bytes(3, n * groups).into_iter().map(|m| m / 2).collect();
                    reference::gemm_i2(bytes, MatRef::new(&multipliers, n, groups).expect("shape"), x)
                }
                _ => reference::gemm(bytes, x),
            };
            assert!(sums == expected, "batch {m} differs from the oracle");
            println!("batch {m} verified");
        }
    }
    m5_exit(gem5);
    for &m in &batches {
        let mut call = |copy: usize| match &weights {
            Weights::Bytes(w) => read(black_box(&w[copy])),
            Weights::Signed(w) => {
                let x = Activations::new(MatRef::new(black_box(&x[..m * k]), m, k).expect("shape"));
                let epilogue = RequantizeFloat::new(&scales, 0i8);
                let out = MatMut::new(&mut out[..m * n], m, n).expect("shape");
                gemm(&w[copy], x, &epilogue, out, &mut workspace).expect("fits");
            }
            Weights::Unsigned(w) => {
                let x = MatRef::new(black_box(&xu[..m * k]), m, k).expect("shape");
                let shift = Requantize::new(Shift { offset: 0, multiplier: 3, shift: 16 });
                let out = MatMut::new(&mut outu[..m * n], m, n).expect("shape");
                w[copy].multiply(-100, x, -7, &shift, out, &mut unsigned_workspace).expect("fits");
            }
        };
        let mut times = Vec::with_capacity(reps);
        let mut next = 0;
        let mut copy = || {
            next = (next + 1) % copies;
            next
        };
        // The warm-up leaves a copy in the caches that is not the next one's.
        for _ in 0..2 {
            call(copy());
        }
        for _ in 0..reps {
            let start = Instant::now();
            m5_reset(gem5);
            for _ in 0..calls {
                call(copy());
            }
            m5_dump(gem5);
            times.push(start.elapsed().as_nanos() as f64 / 1e3 / calls as f64);
        }
        let list: Vec<String> = times.iter().map(|t| format!("{t:.2}")).collect();
        println!("{mode} {n}x{k} {tier} batch {m}: us {}", list.join(" "));
    }
    let sum: i64 = out.iter().map(|&o| i64::from(o)).sum::<i64>() + outu.iter().map(|&o| i64::from(o)).sum::<i64>();
    println!("check {sum}");
    0
}
