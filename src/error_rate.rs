//! Edit distance and error rate of decoded symbols.

use alloc::vec::Vec;

/// The smallest number of insertions, deletions and substitutions that turn `a` into `b` (Levenshtein).
pub fn edit_distance<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    // One row of the usual table; `diagonal` is the entry above and to the left.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = core::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Errors over a set of transcripts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorCount {
    /// Edits needed to turn the transcripts into the references.
    pub edits: usize,
    /// Symbols in the references.
    pub symbols: usize,
}

impl ErrorCount {
    /// Counts a transcript.
    pub fn add<T: PartialEq>(&mut self, transcript: &[T], reference: &[T]) {
        self.edits += edit_distance(transcript, reference);
        self.symbols += reference.len();
    }

    /// Counts a transcript, character by character.
    pub fn add_text(&mut self, transcript: &str, reference: &str) {
        let [transcript, reference] = [transcript, reference].map(|text| text.chars().collect::<Vec<_>>());
        self.add(&transcript, &reference);
    }

    /// The error rate: all edits divided by all symbols, or 0 if there are no symbols. Long references weigh more than
    /// short ones.
    pub fn rate(&self) -> f64 {
        if self.symbols == 0 { 0.0 } else { self.edits as f64 / self.symbols as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, distance) in [
            ("", "", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("three", "three", 0),
            ("nin", "nine", 1),
            ("four", "five", 3),
            ("ab", "ba", 2),
        ] {
            assert_eq!(edit_distance(a.as_bytes(), b.as_bytes()), distance, "{a:?} {b:?}");
            assert_eq!(edit_distance(b.as_bytes(), a.as_bytes()), distance, "{b:?} {a:?}");
        }
    }

    #[test]
    fn the_rate_is_over_all_characters() {
        let mut errors = ErrorCount::default();
        assert_eq!(errors.rate(), 0.0);
        errors.add_text("one", "one");
        errors.add_text("thré", "three");
        assert_eq!(errors, ErrorCount { edits: 2, symbols: 8 });
        assert_eq!(errors.rate(), 0.25);
    }
}
