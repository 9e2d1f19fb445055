use skinny::kernels::*;
use skinny::*;
#[test]
fn quick() {
    let mut s = 1u64;
    let mut rnd = || {
        s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (s >> 33) as i8
    };
    for &tier in Tier::available() {
        for m in 0..18 {
            for n in [0, 1, 3, 16, 17, 70, 130] {
                for k in [0, 1, 7, 16, 33, 100] {
                    let w: Vec<i8> = (0..n * k).map(|_| rnd()).collect();
                    let x: Vec<i8> = (0..m * k).map(|_| rnd()).collect();
                    let (w, x) = (MatRef::new(&w, n, k).unwrap(), MatRef::new(&x, m, k).unwrap());
                    let p = PackedMat::for_tier(w, tier).unwrap();
                    let mut out = vec![-1i32; m * n];
                    gemm(&p, Activations::new(x), &Sums, MatMut::new(&mut out, m, n).unwrap(), &mut Workspace::new())
                        .unwrap();
                    assert_eq!(out, reference::gemm(w, x), "{tier} {m} {n} {k}");
                }
            }
        }
    }
}

#[test]
fn quick_i4() {
    let mut s = 1u64;
    let ks: [usize; 7] = [0, 1, 7, 16, 33, 100, 64];
    let mut rnd = || {
        s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (s >> 33) as i8
    };
    for &tier in Tier::available() {
        for m in 0..18 {
            for n in [0, 1, 3, 16, 17, 70, 130] {
                for k in ks {
                    let w: Vec<i8> = (0..n * k).map(|_| rnd() % 8).collect();
                    let x: Vec<i8> = (0..m * k).map(|_| rnd()).collect();
                    let g: Vec<u8> = (0..n * k.div_ceil(32)).map(|_| (rnd() as u8) & 127).collect();
                    let (w, x, g) = (
                        MatRef::new(&w, n, k).unwrap(),
                        MatRef::new(&x, m, k).unwrap(),
                        MatRef::new(&g, n, k.div_ceil(32)).unwrap(),
                    );
                    let p = PackedMat::i4_for_tier(w, tier).unwrap();
                    let mut out = vec![-1i32; m * n];
                    gemm(&p, Activations::new(x), &Sums, MatMut::new(&mut out, m, n).unwrap(), &mut Workspace::new())
                        .unwrap();
                    assert_eq!(out, reference::gemm(w, x), "{tier} {m} {n} {k}");
                    let p = PackedMat::i4_grouped_for_tier(w, g, tier).unwrap();
                    gemm(&p, Activations::new(x), &Sums, MatMut::new(&mut out, m, n).unwrap(), &mut Workspace::new())
                        .unwrap();
                    assert_eq!(out, reference::gemm_grouped(w, g, x), "grouped {tier} {m} {n} {k}");
                }
            }
        }
    }
}
