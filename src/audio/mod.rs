//! From sound to features, as a stream.
