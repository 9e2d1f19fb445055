//! Tests of the transition that waits for the ranks.

use super::{Patterns, in_pieces, numbers, short, small, whole};
use crate::factored::Scheme;
use crate::train::settling::RankHistory;
use crate::train::{Initialization, Rates, Schedule, Settling, Trainer};

fn settled(window: usize, tolerance: f32, ranks: &[[f32; 2]]) -> bool {
    RankHistory(ranks.iter().map(|ranks| ranks.to_vec()).collect()).settled(Settling { window, tolerance })
}

#[test]
fn ranks_have_settled_when_all_of_them_have() {
    let ranks = [[9.0, 20.0], [5.0, 12.0], [4.0, 10.0], [4.1, 10.1], [4.0, 10.0]];
    assert!(settled(2, 0.05, &ranks));
    // The first of the window's three epochs had another rank.
    assert!(!settled(3, 0.05, &ranks));
    assert!(settled(3, 0.3, &ranks));
    assert!(!settled(2, 0.01, &ranks));
    let one_moves = [[9.0, 20.0], [5.0, 12.0], [4.0, 10.0], [4.0, 11.0], [4.0, 12.0]];
    assert!(!settled(2, 0.05, &one_moves));
    // A rank that comes back has varied.
    let there_and_back = [[9.0, 20.0], [4.0, 10.0], [5.0, 10.0], [4.0, 10.0]];
    assert!(!settled(2, 0.05, &there_and_back));
}

#[test]
fn ranks_that_have_yet_to_move_have_not_settled() {
    let still = [[9.0, 20.0]; 6];
    assert!(!settled(2, 0.05, &still));
    // Nor before there are as many epochs as the window has.
    for epochs in 0..4 {
        assert!(!settled(4, 10.0, &[[9.0, 20.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0]][..epochs]));
    }
}

/// Stage 1 lasts at most 8 epochs, stage 2 two.
fn schedule(tolerance: f32) -> Schedule {
    Schedule {
        epochs: 10,
        batches: 10,
        transition: Some(8),
        settling: Some(Settling { window: 2, tolerance }),
        rates: Rates { first: 3e-2, last: 3e-3 },
        ..short()
    }
}

fn factored() -> Initialization {
    Initialization::Factored(Scheme::PartiallyJoint)
}

#[test]
fn the_transition_comes_when_ranks_have_settled() {
    let mut run = Trainer::new(small(factored()), schedule(0.1)).unwrap();
    let mut stages = Vec::new();
    while let Some(report) = run.train_epoch(&mut Patterns::new()).unwrap() {
        assert_eq!(report.at_cut.is_some(), report.stage == 2 && stages.last() == Some(&1));
        stages.push(report.stage);
    }
    let epochs = stages.iter().filter(|&&stage| stage == 1).count();
    assert!((2..8).contains(&epochs), "{stages:?}");
    // Stage 2 is as long as if the ranks had not settled.
    assert_eq!((run.transition(), stages.len()), (Some(epochs), epochs + 2));
    assert_eq!(numbers(&in_pieces("settled", factored(), &schedule(0.1))), numbers(&run));
}

#[test]
fn ranks_that_do_not_settle_are_cut_at_the_last_epoch() {
    let run = whole(factored(), &schedule(0.0));
    assert_eq!((run.transition(), run.epoch()), (Some(8), 10));
    // This equals the run without settling.
    let fixed = whole(factored(), &Schedule { settling: None, ..schedule(0.0) });
    assert_eq!(numbers(&run), numbers(&fixed));
}

#[test]
fn a_stage_1_alone_ends_when_ranks_have_settled() {
    let whole = whole(factored(), &schedule(0.1));
    let stage_1 = Schedule { epochs: 8, ..schedule(0.1) };
    let mut run = Trainer::new(small(factored()), stage_1).unwrap();
    while run.train_epoch(&mut Patterns::new()).unwrap().is_some() {}
    assert_eq!(Some(run.epoch()), whole.transition());
    let mut run = run.with_schedule(schedule(0.1)).unwrap();
    while run.train_epoch(&mut Patterns::new()).unwrap().is_some() {}
    assert_eq!(numbers(&run), numbers(&whole));
}
