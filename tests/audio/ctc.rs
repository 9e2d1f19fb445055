//! Greedy decoding.

use skinny::audio::{GreedyDecoder, Labels};
use skinny::{Error, Mat, MatRef};

use crate::fixture::model;

fn one_hot(classes: &[usize], labels: &Labels) -> Mat<f32> {
    let mut scores =
        Mat::from_vec(vec![-1.0; classes.len() * labels.classes()], classes.len(), labels.classes()).unwrap();
    for (step, class) in classes.iter().enumerate() {
        scores.view_mut().row_mut(step)[*class] = 2.0;
    }
    scores
}

fn greedy(labels: &Labels, scores: &Mat<f32>) -> String {
    let mut decoder = GreedyDecoder::new(labels.clone());
    decoder.push(scores.view()).unwrap();
    decoder.text().to_owned()
}

#[test]
fn repeats_merge_unless_a_blank_parts_them() {
    let labels = Labels::from_alphabet(" ehrt", 0).unwrap();
    let steps = [0, 5, 5, 3, 4, 2, 2, 0, 2, 0];
    assert_eq!(greedy(&labels, &one_hot(&steps, &labels)), "three");
}

#[test]
fn spaces_at_the_ends_are_dropped() {
    let labels = Labels::from_alphabet(" ab", 0).unwrap();
    assert_eq!(greedy(&labels, &one_hot(&[1, 2, 1, 3, 1, 0, 1], &labels)), "a b");
}

#[test]
fn nothing_decodes_to_nothing() {
    let labels = Labels::from_alphabet("ab", 0).unwrap();
    assert_eq!(greedy(&labels, &one_hot(&[], &labels)), "");
    assert_eq!(greedy(&labels, &one_hot(&[0, 0], &labels)), "");
}

#[test]
fn the_blank_may_be_any_class_and_labels_any_text() {
    let labels = Labels::from_alphabet("ab", 2).unwrap();
    assert_eq!(greedy(&labels, &one_hot(&[2, 0, 2, 0, 1, 1], &labels)), "aab");
    let labels = Labels::new(vec!["one".into(), "<blank>".into(), " two".into()], 1).unwrap();
    assert_eq!(greedy(&labels, &one_hot(&[0, 2, 2, 1, 2], &labels)), "one two two");
    assert_eq!((labels.blank(), labels.text(1)), (1, ""));
}

#[test]
fn text_comes_at_the_step_that_adds_it() {
    let labels = Labels::from_alphabet("ab", 0).unwrap();
    let scores = one_hot(&[1, 1, 0, 2], &labels);
    let mut decoder = GreedyDecoder::new(labels);
    for _ in 0..2 {
        let added: Vec<_> =
            (0..4).map(|t| decoder.push(MatRef::row_vector(scores.view().row(t))).unwrap().to_owned()).collect();
        assert_eq!(added, ["a", "", "", "b"]);
        decoder.reset();
    }
}

#[test]
fn equal_scores_take_the_first_class() {
    let labels = Labels::from_alphabet("ab", 0).unwrap();
    let scores = |scores: [f32; 3]| Mat::from_vec(scores.to_vec(), 1, 3).unwrap();
    assert_eq!(greedy(&labels, &scores([0.0, 0.0, 0.0])), "");
    assert_eq!(greedy(&labels, &scores([0.0, 1.0, 1.0])), "a");
    assert_eq!(greedy(&labels, &scores([f32::NEG_INFINITY, f32::NEG_INFINITY, 1.0])), "b");
}

#[test]
fn scores_that_do_not_fit_change_nothing() {
    let mut decoder = GreedyDecoder::new(Labels::from_alphabet("ab", 0).unwrap());
    decoder.push(MatRef::row_vector(&[0.0, 1.0, 0.0])).unwrap();
    let refused = decoder.push(MatRef::row_vector(&[0.0, 1.0])).unwrap_err();
    assert_eq!(refused, Error::Shape { what: "scores", expected: (1, 3), found: (1, 2) });
    let scores = [0.0, 0.0, 1.0, 0.0, f32::NAN, 1.0];
    let refused = decoder.push(MatRef::new(&scores, 2, 3).unwrap()).unwrap_err();
    assert!(matches!(refused, Error::NotFinite { what: "scores", index: 4, .. }));
    assert_eq!(decoder.push(MatRef::row_vector(&[0.0, 1.0, 0.0])).unwrap(), "");
    assert_eq!(decoder.text(), "a");
}

#[test]
fn labels_are_read_as_they_were_written() {
    for labels in
        [Labels::from_alphabet("é", 0), Labels::from_alphabet("\"", 1), Labels::new(vec!["".into(), "a b".into()], 0)]
    {
        let labels = labels.unwrap();
        let model = labels.attach(model(3)).unwrap();
        assert_eq!(Labels::of_model(&model).unwrap(), Some(labels));
    }
    assert_eq!(Labels::of_model(&model(3)).unwrap(), None);
    let refused = Labels::from_alphabet("abc", 0).unwrap().attach(model(3)).unwrap_err();
    assert_eq!(refused, Error::Length { what: "labels", expected: 2, found: 4 });
    assert!(matches!(Labels::from_alphabet("abc", 4), Err(Error::Parameter { what: "blank", .. })));
    assert!(matches!(Labels::new(Vec::new(), 0), Err(Error::Parameter { what: "blank", .. })));
}
