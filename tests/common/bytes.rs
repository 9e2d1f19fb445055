//! Makes arguments of the bytes that a fuzz target or a test was given.

#![allow(dead_code, reason = "each user uses some of it")]

/// Reads bytes from the front, and zeros after the end.
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&first, rest)) => {
                self.0 = rest;
                first
            }
            None => 0,
        }
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()])) % limit
    }

    pub fn i32(&mut self) -> i32 {
        i32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    /// That many bytes: the next ones, repeated, so a short input fills a large matrix too.
    pub fn cycle(&mut self, len: usize) -> Vec<u8> {
        let period = self.below(64).min(self.0.len());
        let (pattern, rest) = self.0.split_at(period);
        self.0 = rest;
        if pattern.is_empty() { vec![0; len] } else { pattern.iter().copied().cycle().take(len).collect() }
    }
}
