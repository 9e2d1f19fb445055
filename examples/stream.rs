//! A stream through a GRU, step by step: a memory of one bit.
//!
//!     cargo run --release --example stream
//!
//! The weights are set by hand. The unit remembers which of two inputs, *set* and *reset*, came last. Its update gate
//! is closed unless one of them is on, and its candidate is +1 for *set* and -1 for *reset*.

use skinny::factored::{Gru, Scratch, Weight};
use skinny::{Mat, MatMut, MatRef, Tier};

/// The frames of the stream: set, reset.
const FRAMES: [[f32; 2]; 10] = [
    [0.0, 0.0],
    [1.0, 0.0],
    [0.0, 0.0],
    [0.0, 0.0],
    [0.0, 1.0],
    [0.0, 0.0],
    [1.0, 0.0],
    [0.0, 0.0],
    [0.0, 1.0],
    [0.0, 0.0],
];

/// r = 1; z = sigmoid(10 - 20 (set + reset)); n = tanh(5 (set - reset)); h' = (1 - z) n + z h.
fn flip_flop() -> skinny::Result<Gru> {
    // Rows are the gates r, z, n, as in PyTorch; here each has one feature.
    let weight_ih = Mat::from_vec(vec![0.0, 0.0, -20.0, -20.0, 5.0, -5.0], 3, 2)?;
    let weight_hh = Mat::zeros(3, 1)?;
    Gru::new(Weight::dense(weight_ih)?, Weight::dense(weight_hh)?, Some(vec![10.0, 10.0, 0.0]), None)
}

fn main() -> skinny::Result<()> {
    let gru = flip_flop()?;
    let int8 = gru.quantize(Tier::select()?)?;

    // A layer is immutable. The state is what a stream remembers; the scratch is working memory that streams may share.
    let mut scratch = Scratch::new();
    let (mut state, mut state_int8) = (gru.state()?, int8.state()?);
    let mut stream = Vec::new();
    println!("set reset   f32    int8");
    for frame in &FRAMES {
        let h = gru.step(frame, &mut state, &mut scratch)?[0];
        let h_int8 = int8.step(frame, &mut state_int8, &mut scratch)?[0];
        println!("{:>3} {:>5}  {h:>5.2}  {h_int8:>6.2}", frame[0], frame[1]);
        stream.push(h);
    }

    // Once set, it stays set until it is reset.
    let set = |t: usize| stream[t] > 0.9;
    assert!([1, 2, 3, 6, 7].into_iter().all(set) && [4, 5, 8, 9].into_iter().all(|t| stream[t] < -0.9));

    // The whole sequence in one call gives the same bits as the steps.
    let mut whole = [0.0; FRAMES.len()];
    let frames = MatRef::new(FRAMES.as_flattened(), FRAMES.len(), 2)?;
    let out = MatMut::new(&mut whole, FRAMES.len(), 1)?;
    state.reset();
    gru.forward(frames, &mut state, out, &mut scratch)?;
    assert_eq!(whole[..], stream);

    // A cloned state is a separate stream: two futures of one past.
    let mut other = state.clone();
    let on = gru.step(&[1.0, 0.0], &mut state, &mut scratch)?[0];
    let off = gru.step(&[0.0, 0.0], &mut other, &mut scratch)?[0];
    println!("and then, of two futures: {on:.2} if it is set, {off:.2} if not");
    assert!(on > 0.9 && off < -0.9);
    Ok(())
}
