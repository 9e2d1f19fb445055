//! From sound to features, and from scores to text.

mod ctc;
mod digits;
mod features;
mod fixture;
mod hostile;
mod resample;
mod streams;
