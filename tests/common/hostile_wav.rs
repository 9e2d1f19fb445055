//! Recordings that may be hostile, read as the example `digits` does: for the tests and for the fuzz target.

use crate::wav;

/// Reads `data` as a recording; what is accepted is samples of the range, not more than the bytes hold.
pub fn decode(data: &[u8]) {
    // The rate that the file announces, so that files of any rate get beyond the check of it.
    let announced = data.get(24..28).map_or(8000, |rate| u32::from_le_bytes(rate.try_into().unwrap()));
    for rate in [8000, announced] {
        match wav::decode(data, "input", rate) {
            Ok(samples) => {
                assert!(!samples.is_empty() && 2 * samples.len() <= data.len());
                assert!(samples.iter().all(|sample| (-1.0..1.0).contains(sample)));
            }
            Err(error) => assert!(error.to_string().starts_with("input: ")),
        }
    }
}
