//! Pseudo-random operands, the same on every run.

#![allow(dead_code, reason = "each test uses some of it")]

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    /// From `low..=high`.
    pub fn within(&mut self, low: i32, high: i32) -> i32 {
        let span = u64::from(high.wrapping_sub(low) as u32) + 1;
        low.wrapping_add(((u64::from(self.bits()) * span) >> 32) as i32)
    }

    pub fn bytes(&mut self, len: usize) -> Vec<i8> {
        (0..len).map(|_| (self.bits() >> 24) as i8).collect()
    }

    /// 4-bit weights.
    pub fn nibbles(&mut self, len: usize) -> Vec<i8> {
        (0..len).map(|_| self.within(-7, 7) as i8).collect()
    }

    /// 2-bit weights.
    pub fn quarters(&mut self, len: usize) -> Vec<i8> {
        (0..len).map(|_| self.within(-2, 1) as i8).collect()
    }

    /// Multipliers of groups of 2-bit weights.
    pub fn multipliers_i2(&mut self, len: usize) -> Vec<i8> {
        (0..len).map(|_| self.within(-63, 63) as i8).collect()
    }

    /// Multipliers of groups of 4-bit weights.
    pub fn multipliers(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.within(0, 127) as u8).collect()
    }

    /// `i32` values of every magnitude.
    pub fn integers(&mut self, len: usize) -> Vec<i32> {
        (0..len).map(|_| self.bits() as i32 >> (self.bits() >> 27)).collect()
    }

    /// From `low..high`.
    pub fn floats(&mut self, len: usize, low: f32, high: f32) -> Vec<f32> {
        (0..len).map(|_| low + (high - low) * (self.bits() >> 8) as f32 / (1 << 24) as f32).collect()
    }
}
