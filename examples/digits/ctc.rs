//! From the network's scores to text, and from texts to an error rate.

/// The characters of a CTC model. Class 0 is the blank; class `i` is the `i`-th
/// letter, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alphabet {
    letters: Vec<char>,
}

impl Alphabet {
    /// The alphabet whose classes after the blank are the characters of `letters`.
    pub fn new(letters: &str) -> Self {
        Self { letters: letters.chars().collect() }
    }

    /// Number of classes, the blank included: the scores one step has.
    pub fn classes(&self) -> usize {
        self.letters.len() + 1
    }
}

/// Greedy decoding step by step, for a stream: the best class of each step, with
/// repeats merged and blanks dropped.
#[derive(Clone, Debug)]
pub struct GreedyDecoder<'a> {
    alphabet: &'a Alphabet,
    last: usize,
    text: String,
}

impl<'a> GreedyDecoder<'a> {
    /// A decoder that has seen nothing.
    pub fn new(alphabet: &'a Alphabet) -> Self {
        Self { alphabet, last: 0, text: String::new() }
    }

    /// Takes the scores of one step and returns the letter it adds, if any.
    /// Logits and log-probabilities do equally well: only their order counts.
    ///
    /// # Panics
    ///
    /// When `scores` is not as long as the alphabet has classes.
    pub fn push(&mut self, scores: &[f32]) -> Option<char> {
        assert_eq!(scores.len(), self.alphabet.classes(), "scores of one step");
        let mut best = 0;
        for (class, score) in scores.iter().enumerate() {
            // Strict, so that the first of equals wins, as in train.py.
            if *score > scores[best] {
                best = class;
            }
        }
        let repeated = best == self.last;
        self.last = best;
        if best == 0 || repeated {
            return None;
        }
        let letter = self.alphabet.letters[best - 1];
        self.text.push(letter);
        Some(letter)
    }

    /// The text so far, without spaces at its ends.
    pub fn text(&self) -> &str {
        self.text.trim()
    }
}

/// Decodes all steps of one recording: `scores` holds the classes of the first
/// step, then those of the second, and so on.
///
/// # Panics
///
/// When `scores` is not a whole number of steps.
#[cfg(test)]
pub fn greedy(alphabet: &Alphabet, scores: &[f32]) -> String {
    let mut decoder = GreedyDecoder::new(alphabet);
    assert_eq!(scores.len() % alphabet.classes(), 0, "whole steps");
    for step in scores.chunks_exact(alphabet.classes()) {
        decoder.push(step);
    }
    decoder.text().to_owned()
}

/// Levenshtein distance in characters: the least number of insertions, deletions
/// and substitutions that turn one text into the other.
pub fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    // One row of the usual table; `diagonal` is the entry above and to the left.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
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
    /// Edits that turn the transcripts into the references.
    pub edits: usize,
    /// Characters of the references.
    pub characters: usize,
    /// Transcripts with at least one error.
    pub wrong: usize,
    /// Transcripts counted.
    pub transcripts: usize,
}

impl ErrorCount {
    /// Counts one transcript.
    pub fn add(&mut self, transcript: &str, reference: &str) {
        let edits = edit_distance(transcript, reference);
        self.edits += edits;
        self.characters += reference.chars().count();
        self.wrong += usize::from(edits > 0);
        self.transcripts += 1;
    }

    /// Character error rate: all edits over all characters of the references, so
    /// long texts weigh more than short ones. `None` without any reference.
    pub fn character_error_rate(&self) -> Option<f64> {
        (self.characters > 0).then(|| self.edits as f64 / self.characters as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_hot(classes: &[usize], alphabet: &Alphabet) -> Vec<f32> {
        let mut scores = vec![-1.0; classes.len() * alphabet.classes()];
        for (step, class) in classes.iter().enumerate() {
            scores[step * alphabet.classes() + class] = 2.0;
        }
        scores
    }

    #[test]
    fn repeats_merge_unless_a_blank_parts_them() {
        let alphabet = Alphabet::new(" ehrt");
        let steps = [0, 5, 5, 3, 4, 2, 2, 0, 2, 0];
        assert_eq!(greedy(&alphabet, &one_hot(&steps, &alphabet)), "three");
    }

    #[test]
    fn spaces_at_the_ends_are_dropped() {
        let alphabet = Alphabet::new(" ab");
        let steps = [1, 2, 1, 3, 1, 0, 1];
        assert_eq!(greedy(&alphabet, &one_hot(&steps, &alphabet)), "a b");
    }

    #[test]
    fn nothing_decodes_to_nothing() {
        let alphabet = Alphabet::new("ab");
        assert_eq!(greedy(&alphabet, &[]), "");
        assert_eq!(greedy(&alphabet, &one_hot(&[0, 0], &alphabet)), "");
    }

    #[test]
    fn letters_come_at_the_step_that_adds_them() {
        let alphabet = Alphabet::new("ab");
        let mut decoder = GreedyDecoder::new(&alphabet);
        let scores = one_hot(&[1, 1, 0, 2], &alphabet);
        let letters: Vec<_> = scores.chunks(3).map(|step| decoder.push(step)).collect();
        assert_eq!(letters, [Some('a'), None, None, Some('b')]);
    }

    #[test]
    fn equal_scores_take_the_first_class() {
        let alphabet = Alphabet::new("ab");
        assert_eq!(greedy(&alphabet, &[0.0, 0.0, 0.0]), "");
        assert_eq!(greedy(&alphabet, &[0.0, 1.0, 1.0]), "a");
    }

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
            assert_eq!(edit_distance(a, b), distance, "{a:?} {b:?}");
            assert_eq!(edit_distance(b, a), distance, "{b:?} {a:?}");
        }
    }

    #[test]
    fn the_rate_is_over_all_characters() {
        let mut errors = ErrorCount::default();
        assert_eq!(errors.character_error_rate(), None);
        errors.add("one", "one");
        errors.add("thre", "three");
        assert_eq!((errors.wrong, errors.transcripts), (1, 2));
        assert_eq!(errors.character_error_rate(), Some(1.0 / 8.0));
    }
}
