//! Pseudo-random numbers, the same in every run.

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Random(u64);

impl Random {
    /// A generator with this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Floats in -1..1.
    pub fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| ((self.next() as i64) >> 40) as f32 / (1u32 << 23) as f32).collect()
    }

    /// Bytes in -127..=127.
    pub fn bytes(&mut self, len: usize) -> Vec<i8> {
        (0..len).map(|_| ((self.next() >> 32) as i8).max(-127)).collect()
    }
}
