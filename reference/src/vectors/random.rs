//! Pseudo-random inputs, the same on every run: splitmix64.

/// A generator.
pub struct Random(u64);

impl Random {
    /// A generator for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 32 random bits.
    pub fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 32) as u32
    }

    /// From `low..=high`.
    pub fn within(&mut self, low: i32, high: i32) -> i32 {
        let span = (i64::from(high) - i64::from(low) + 1) as u64;
        (i64::from(low) + ((u64::from(self.bits()) * span) >> 32) as i64) as i32
    }

    /// Rows of integers from `low..=high`.
    pub fn integers<T: TryFrom<i32>>(&mut self, n: usize, k: usize, low: i32, high: i32) -> Vec<Vec<T>> {
        let mut one = || T::try_from(self.within(low, high)).ok().expect("the range is that of the type");
        (0..n).map(|_| (0..k).map(|_| one()).collect()).collect()
    }

    /// An `i32` of any magnitude.
    pub fn integer(&mut self) -> i32 {
        self.bits() as i32 >> (self.bits() >> 27)
    }

    /// From -1 to 1.
    pub fn float(&mut self) -> f32 {
        self.within(-(1 << 23), 1 << 23) as f32 / (1 << 23) as f32
    }

    /// From `-size` to `size`.
    pub fn floats(&mut self, len: usize, size: f32) -> Vec<f32> {
        (0..len).map(|_| self.float() * size).collect()
    }

    /// Rows of floats from `-size` to `size`.
    pub fn frames(&mut self, n: usize, k: usize, size: f32) -> Vec<Vec<f32>> {
        (0..n).map(|_| self.floats(k, size)).collect()
    }

    /// A finite float of any magnitude.
    pub fn any_float(&mut self) -> f32 {
        loop {
            let x = f32::from_bits(self.bits());
            if x.is_finite() {
                return x;
            }
        }
    }
}
