//! The parts of compression by themselves: measures, moments, decompositions, budgets, corrected rounding.

use skinny::compress::{
    Budget, Candidate, Choice, Cost, Decomposition, Moment, RoundedFactors, allocate, explained_variance, nu,
    relative_error, round_corrected, signal_to_noise,
};
use skinny::factored::{LowRank, RankPolicy, Unpacked};
use skinny::kernels::WeightFormat;
use skinny::{Error, Mat};

fn mat(rows: usize, cols: usize, of: impl Fn(usize) -> f32) -> Mat<f32> {
    Mat::from_vec((0..rows * cols).map(of).collect(), rows, cols).unwrap()
}

fn wave(i: usize) -> f32 {
    ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0
}

#[test]
fn measures_are_defined_for_zeros_and_refuse_what_does_not_fit() {
    assert_eq!((nu(&[]), nu(&[2.0]), nu(&[0.0; 4]), nu(&[0.5; 4])), (0.0, 0.0, 0.0, 1.0));
    let shares = [0, 1, 2, 9].map(|rank| explained_variance(&[3.0, 1.0], rank));
    assert_eq!((shares, explained_variance(&[0.0; 2], 1)), ([0.0, 0.9, 1.0, 1.0], 1.0));
    let half = nu(&[1.0, 1.0, 0.0, 0.0]);
    assert!((half - (2.0f64.sqrt() - 1.0)).abs() < 1e-12, "{half}");
    let (w, zeros) = (mat(3, 4, wave), mat(3, 4, |_| 0.0));
    assert_eq!(relative_error(w.view(), zeros.view()), Ok(1.0));
    assert_eq!(relative_error(zeros.view(), zeros.view()), Ok(0.0));
    assert_eq!(relative_error(zeros.view(), w.view()), Ok(f64::INFINITY));
    let other = mat(4, 3, wave);
    let misfit = Error::Shape { what: "approximation", expected: (3, 4), found: (4, 3) };
    assert_eq!(relative_error(w.view(), other.view()), Err(misfit.clone()));
    let mut moment = Moment::new(4).unwrap();
    moment.add(mat(9, 4, wave).view()).unwrap();
    assert_eq!(signal_to_noise(w.view(), other.view(), &moment), Err(misfit));
    let misfit = Error::Shape { what: "weight", expected: (4, 4), found: (4, 3) };
    assert_eq!(signal_to_noise(other.view(), other.view(), &moment), Err(misfit));
    let refused = Error::Parameter { what: "elements of an input", value: 0.0, expected: "at least 1" };
    assert_eq!(Moment::new(0).unwrap_err(), refused);
}

#[test]
fn a_budget_is_for_matrices_that_can_be_cut() {
    let budget = Budget { limit: 100.0, cost: Cost::Parameters };
    let refused = Error::Parameter { what: "rank multiple", value: 0.0, expected: "at least 1" };
    assert_eq!(allocate(&[], &budget, 0), Err(refused));
    let candidate = |n, k| Candidate { n, k, singular_values: &[], importance: 1.0, recurrent: false, pinned: false };
    for (n, k) in [(0, 5), (5, 0), (0, 0)] {
        let refused = Error::Length { what: "singular values", expected: 1, found: 0 };
        assert_eq!(allocate(&[candidate(n, k)], &budget, 1), Err(refused), "{n} x {k}");
    }
    let too_few = Candidate { singular_values: &[1.0, 0.5], ..candidate(3, 30) };
    let refused = Error::Length { what: "singular values", expected: 3, found: 2 };
    assert_eq!(allocate(&[too_few], &budget, 1), Err(refused));
    // Of a weight of rank 1, the matrix itself has no error either; a budget that it fits leaves it as it is.
    let of_rank_one = Candidate { singular_values: &[1.0, 0.0, 0.0], ..candidate(3, 30) };
    for (limit, choice) in [(90.0, Choice::Dense), (89.0, Choice::LowRank(2)), (33.0, Choice::LowRank(1))] {
        assert_eq!(allocate(&[of_rank_one], &Budget { limit, ..budget.clone() }, 1), Ok(vec![choice]));
    }
}

/// A variance that is rounding of the mean's square says nothing, whichever inputs are not zero.
#[test]
fn inputs_that_do_not_vary_give_the_plain_decomposition() {
    let w = mat(6, 4, wave);
    let plain = Decomposition::new(w.view(), None).unwrap();
    let mut rounded = 0;
    for value in [0.1f32, 0.3, 0.7, 1.1, 3.3, 1e3, 12345.678] {
        for element in 0..4 {
            for count in [3, 7, 11, 49] {
                let mut moment = Moment::new(4).unwrap();
                moment.add(mat(count, 4, |i| if i % 4 == element { value } else { 0.0 }).view()).unwrap();
                let of_mean = moment.mean()[element].powi(2);
                rounded += usize::from(moment.get(element, element) > of_mean);
                let weighted = Decomposition::new(w.view(), Some(&moment)).unwrap();
                assert_eq!(weighted.singular_values(), plain.singular_values(), "{value} at {element}, {count} times");
            }
        }
    }
    assert!(rounded > 0, "no case had a variance above zero");
}

#[test]
fn corrected_rounding_refuses_what_does_not_fit() {
    let low_rank = LowRank::from_factors(mat(5, 2, wave), mat(2, 4, wave)).unwrap();
    let round = |w: &Mat<f32>, moment: Option<&Moment>| {
        round_corrected(w.view(), &low_rank, WeightFormat::I4, moment, &[4]).unwrap_err()
    };
    let mut w = mat(5, 4, wave);
    let misfit = Error::Shape { what: "second moment", expected: (4, 4), found: (3, 3) };
    assert_eq!(round(&w, Some(&Moment::new(3).unwrap())), misfit);
    let misfit = Error::Shape { what: "weight", expected: (5, 4), found: (4, 4) };
    assert_eq!(round(&mat(4, 4, wave), None), misfit);
    w.as_mut_slice()[7] = f32::INFINITY;
    assert_eq!(round(&w, None), Error::NotFinite { what: "weights", index: 7, value: f32::INFINITY });
}

/// Two columns of `U` that are equal are no obstacle: the equations of the correction have many solutions then.
#[test]
fn factors_that_repeat_themselves_are_corrected_too() {
    let (rows, k) = (12, 20);
    let u = mat(rows, 3, |i| wave(i / 3 * 2 + i % 3 / 2));
    let low_rank = LowRank::from_factors(u, mat(3, k, |i| wave(5 * i + 3))).unwrap();
    let w = low_rank.product().unwrap();
    let product = |u: &Unpacked, v: &Unpacked| {
        LowRank::from_factors(u.dequantize().unwrap(), v.dequantize().unwrap()).unwrap().product().unwrap()
    };
    let RoundedFactors { u, v, .. } = round_corrected(w.view(), &low_rank, WeightFormat::I4, None, &[k]).unwrap();
    let corrected = relative_error(w.view(), product(&u, &v[0]).view()).unwrap();
    let plain = |factor| Unpacked::quantize(factor, WeightFormat::I4).unwrap();
    let plain = product(&plain(low_rank.u()), &plain(low_rank.v()));
    let plain = relative_error(w.view(), plain.view()).unwrap();
    assert!(corrected < 0.9 * plain, "{corrected}, plain {plain}");
}

/// Beyond the rank of a matrix the factors are zeros, not zeros divided by zeros.
#[test]
fn ranks_beyond_that_of_the_matrix_add_nothing() {
    for (n, k) in [(6, 4), (4, 6), (5, 5)] {
        let of_rank_one = mat(n, k, |i| (1 + i / k) as f32 * (1 + i % k) as f32);
        for w in [mat(n, k, |_| 0.0), of_rank_one] {
            let cut = LowRank::truncate(w.view(), RankPolicy::Fixed(3)).unwrap();
            let all = cut.u().as_slice().iter().chain(cut.v().as_slice());
            assert!(all.into_iter().all(|factor| factor.is_finite()), "{n} x {k}");
            let error = relative_error(w.view(), cut.product().unwrap().view()).unwrap();
            assert!(error < 1e-6, "{n} x {k}: {error}");
        }
    }
}
