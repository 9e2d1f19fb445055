//! Labels and greedy decoding: from the scores of a CTC model to text.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::entries::{entry_error, quoted};
use crate::error::{Error, Result};
use crate::matrix::MatRef;
use crate::model::Model;

/// The metadata keys of a model file.
const LABELS: &str = "labels";
const ALPHABET: &str = "alphabet";
const BLANK: &str = "blank";

/// The texts that the classes of a CTC model stand for, and the blank.
///
/// A model file has them in its metadata. `labels` is a JSON list with the text of each class. Alternatively,
/// `alphabet` has the characters of the classes in order, without the blank. `blank` is the class of the blank
/// (default: 0).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    texts: Arc<[String]>,
    blank: usize,
}

impl Labels {
    /// Makes labels from the texts of the classes. The text at index `blank` is ignored.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless `blank` is one of the classes.
    pub fn new(mut texts: Vec<String>, blank: usize) -> Result<Self> {
        match texts.get_mut(blank) {
            None => Err(Error::Parameter { what: "blank", value: blank as f64, expected: "one of the classes" }),
            Some(text) => {
                text.clear();
                Ok(Self { texts: texts.into(), blank })
            }
        }
    }

    /// Makes labels from the characters of `alphabet` in order, with the blank inserted as class `blank`.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless `blank` is at most the number of characters.
    ///
    /// # Example
    /// ```
    /// use skinny::audio::Labels;
    ///
    /// let labels = Labels::from_alphabet("ab", 0)?;
    /// assert_eq!((labels.classes(), labels.text(0), labels.text(1)), (3, "", "a"));
    /// # Ok::<(), skinny::Error>(())
    /// ```
    pub fn from_alphabet(alphabet: &str, blank: usize) -> Result<Self> {
        let mut texts: Vec<String> = alphabet.chars().map(String::from).collect();
        // `new` refuses a blank beyond the end.
        if blank <= texts.len() {
            texts.insert(blank, String::new());
        }
        Self::new(texts, blank)
    }

    /// Reads the labels of a model; `None` if its file has none.
    ///
    /// # Errors
    /// [`Error::File`] with the name of a malformed entry, or if the number of labels is not the number of classes.
    pub fn of_model(model: &Model) -> Result<Option<Self>> {
        let metadata = model.metadata();
        let blank = match metadata.get(BLANK) {
            None => 0,
            Some(text) => text
                .parse()
                .map_err(|_| entry_error(BLANK, format!("expected the index of a class, found {}", quoted(text))))?,
        };
        let (key, labels) = match (metadata.get(LABELS), metadata.get(ALPHABET)) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => return Err(entry_error(LABELS, "the file has an alphabet too")),
            (Some(json), None) => {
                let texts = serde_json::from_str(json)
                    .map_err(|cause| entry_error(LABELS, format!("expected a JSON list of texts: {cause}")))?;
                (LABELS, Self::new(texts, blank))
            }
            (None, Some(alphabet)) => (ALPHABET, Self::from_alphabet(alphabet, blank)),
        };
        let labels = labels.map_err(|cause| entry_error(BLANK, cause.to_string()))?;
        if labels.classes() != model.output_size() {
            let reason =
                format!("{} classes including the blank, but the model has {}", labels.classes(), model.output_size());
            return Err(entry_error(key, reason));
        }
        Ok(Some(labels))
    }

    /// The same model with these labels in its metadata.
    ///
    /// # Errors
    /// [`Error::Length`] if the number of labels is not the model's number of classes.
    pub fn attach(&self, model: Model) -> Result<Model> {
        let (expected, found) = (model.output_size(), self.classes());
        if expected != found {
            return Err(Error::Length { what: "labels", expected, found });
        }
        let mut metadata: BTreeMap<_, _> = model.metadata().clone();
        metadata.remove(ALPHABET);
        metadata.insert(LABELS.into(), serde_json::Value::from(self.texts.to_vec()).to_string());
        metadata.insert(BLANK.into(), self.blank.to_string());
        let attachments = model.attachments().clone();
        Ok(model.with_attached(metadata, attachments))
    }

    /// Number of classes, including the blank; there is one score per class and step.
    pub fn classes(&self) -> usize {
        self.texts.len()
    }

    /// The class that stands for no text.
    pub fn blank(&self) -> usize {
        self.blank
    }

    /// The text of a class; empty for the blank.
    ///
    /// # Panics
    /// If there is no such class.
    pub fn text(&self, class: usize) -> &str {
        &self.texts[class]
    }
}

/// Greedy decoding of a stream: takes the best class of each step, merges repeats and drops blanks (Graves et al.,
/// 2006, "best path decoding"). Scores may be logits or log-probabilities, because only their order counts. Of equal
/// scores, the first wins.
///
/// # Example
/// ```
/// use skinny::MatRef;
/// use skinny::audio::{GreedyDecoder, Labels};
///
/// let mut decoder = GreedyDecoder::new(Labels::from_alphabet("ab", 0)?);
/// let scores = [
///     0.1, 0.9, 0.0, // a
///     0.0, 0.8, 0.2, // still the same a
///     0.9, 0.1, 0.0, // blank
/// ];
/// assert_eq!(decoder.push(MatRef::new(&scores, 3, 3)?)?, "a");
/// assert_eq!(decoder.push(MatRef::row_vector(&[0.0, 1.0, 0.0]))?, "a");
/// assert_eq!(decoder.text(), "aa");
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct GreedyDecoder {
    labels: Labels,
    last: usize,
    text: String,
}

impl GreedyDecoder {
    /// A decoder at the start of a stream.
    pub fn new(labels: Labels) -> Self {
        Self { last: labels.blank, text: String::new(), labels }
    }

    /// The labels.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Takes the scores of the next steps (`steps x classes`) and returns the text they add.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is one score per class, [`Error::NotFinite`] for a score that is NaN. Nothing is
    /// changed then.
    pub fn push(&mut self, scores: MatRef<'_, f32>) -> Result<&str> {
        scores.expect_shape("scores", scores.rows(), self.labels.classes())?;
        if let Some(index) = scores.as_slice().iter().position(|score| score.is_nan()) {
            return Err(Error::NotFinite { what: "scores", index, value: scores.as_slice()[index] });
        }
        let before = self.text.len();
        for step in 0..scores.rows() {
            let scores = scores.row(step);
            let best = (1..scores.len()).fold(0, |best, class| if scores[class] > scores[best] { class } else { best });
            if best != self.last {
                self.text.push_str(self.labels.text(best));
            }
            self.last = best;
        }
        Ok(&self.text[before..])
    }

    /// The text so far, without spaces at its ends.
    pub fn text(&self) -> &str {
        self.text.trim()
    }

    /// Resets to the start of a stream, without text.
    pub fn reset(&mut self) {
        self.last = self.labels.blank;
        self.text.clear();
    }
}
