//! Which tensors of a file belong to the model, and what they are called.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::tensor::Tensors;

/// Which tensors of a file belong to the model, and what they are called: first a prefix is cut off, then names change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// Only tensors whose names begin with this and a dot, without it: `model` for `model.fc.weight`.
    pub prefix: Option<String>,
    /// New names. The first that matches a name counts.
    pub rename: Vec<Rename>,
}

/// A change of names, written `OLD=NEW`. A star in OLD stands for any text, which takes the place of the star in NEW.
#[derive(Clone, Debug, PartialEq)]
pub struct Rename {
    old: String,
    new: String,
}

impl FromStr for Rename {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |reason| Err(Error::selection(format!("rename {text}"), reason));
        let Some((old, new)) = text.split_once('=') else { return bad("expected OLD=NEW, as in \"cell.*=gru.*\"") };
        match (old.matches('*').count(), new.matches('*').count()) {
            (1, 1) | (0, 0) if !old.is_empty() && !new.is_empty() => Ok(Self { old: old.into(), new: new.into() }),
            (1, 1) | (0, 0) => bad("neither name may be empty"),
            _ => bad("expected one star in both names, or in none"),
        }
    }
}

impl Rename {
    /// The new name, if this one matches.
    fn of(&self, name: &str) -> Option<String> {
        let Some((begin, end)) = self.old.split_once('*') else { return (self.old == name).then(|| self.new.clone()) };
        let text = name.strip_prefix(begin)?.strip_suffix(end)?;
        Some(self.new.replacen('*', text, 1))
    }
}

impl Selection {
    /// Whether everything is taken as it is.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// The tensors selected, and what was assumed. `nested` has the entries of the file that hold tensors of their own, if all
    /// tensors are in such entries: `model` and `optimizer` of a checkpoint.
    pub(crate) fn of(&self, tensors: Tensors, nested: &[String]) -> Result<(Tensors, Vec<String>)> {
        let mut assumptions = Vec::new();
        let prefix = match (&self.prefix, nested) {
            (Some(prefix), _) => Some(prefix.trim_end_matches('.')),
            (None, [only]) => {
                assumptions.push(format!("the model is the entry {only} of the file, the only one with tensors"));
                Some(only.as_str())
            }
            (None, []) => None,
            (None, _) => {
                let reason = format!("the file holds {}; say which is the model", groups(&tensors));
                return Err(Error::selection("prefix", reason));
            }
        };
        let mut selected = Tensors::new();
        let mut used = vec![false; self.rename.len()];
        let all = groups(&tensors);
        for (name, tensor) in tensors {
            let inner = match prefix {
                None => Some(name.as_str()),
                Some(prefix) => name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')),
            };
            let Some(inner) = inner else { continue };
            let renamed = self.rename.iter().enumerate().find_map(|(i, rename)| Some((i, rename.of(inner)?)));
            let new = match renamed {
                Some((i, new)) => {
                    used[i] = true;
                    new
                }
                None => inner.to_owned(),
            };
            if selected.contains_key(&new) {
                return Err(Error::selection(
                    "rename",
                    format!("two tensors would be called {new}, one of them {name}"),
                ));
            }
            selected.insert(new, tensor);
        }
        if let Some(prefix) = prefix
            && selected.is_empty()
        {
            return Err(Error::selection(
                format!("prefix {prefix}"),
                format!("no tensor begins with it; there are {all}"),
            ));
        }
        if let Some(unused) = used.iter().position(|used| !used) {
            let Rename { old, new } = &self.rename[unused];
            let reason = "matches no tensor that no earlier change of names matches";
            return Err(Error::selection(format!("rename {old}={new}"), reason));
        }
        Ok((selected, assumptions))
    }
}

/// The first parts of the tensors' names, with the number of tensors of each.
fn groups(tensors: &Tensors) -> String {
    const MOST: usize = 12;
    let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
    for name in tensors.keys() {
        *groups.entry(name.split('.').next().unwrap_or_default()).or_default() += 1;
    }
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let shown = groups.iter().take(MOST).map(|(name, &count)| format!("{name} ({count} tensor{})", plural(count)));
    let shown = shown.collect::<Vec<_>>().join(", ");
    match groups.len().saturating_sub(MOST) {
        0 if groups.is_empty() => "no tensors".into(),
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Tensor;

    fn tensors(names: &[&str]) -> Tensors {
        names.iter().map(|&name| (name.to_owned(), Tensor::from_f32(vec![1], &[1.0]))).collect()
    }

    fn selected(selection: &Selection, names: &[&str], nested: &[&str]) -> Result<Vec<String>, String> {
        let nested: Vec<String> = nested.iter().map(|&name| name.into()).collect();
        let (tensors, _) = selection.of(tensors(names), &nested).map_err(|cause| cause.to_string())?;
        Ok(tensors.into_keys().collect())
    }

    fn selection(prefix: Option<&str>, renames: &[&str]) -> Selection {
        Selection {
            prefix: prefix.map(Into::into),
            rename: renames.iter().map(|rename| rename.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn a_prefix_is_cut_off() {
        let names = ["model.fc.bias", "model.fc.weight", "models.fc.weight", "optimizer.0"];
        for prefix in ["model", "model."] {
            let chosen = selection(Some(prefix), &[]);
            assert_eq!(selected(&chosen, &names, &["model", "models", "optimizer"]).unwrap(), ["fc.bias", "fc.weight"]);
        }
        let message = selected(&selection(Some("ema"), &[]), &names, &[]).unwrap_err();
        assert_eq!(
            message,
            "prefix ema: no tensor begins with it; there are model (2 tensors), models (1 tensor), optimizer (1 tensor)"
        );
    }

    #[test]
    fn an_entry_is_chosen_only_where_it_is_the_only_one() {
        let all = Selection::default();
        let (found, assumed) = all.of(tensors(&["sd.a", "sd.b"]), &["sd".into()]).unwrap();
        assert_eq!(found.into_keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(assumed, ["the model is the entry sd of the file, the only one with tensors"]);
        let message = selected(&all, &["model.a", "optimizer.b"], &["model", "optimizer"]).unwrap_err();
        assert_eq!(message, "prefix: the file holds model (1 tensor), optimizer (1 tensor); say which is the model");
        assert_eq!(selected(&all, &["rnn.a", "fc.b"], &[]).unwrap(), ["fc.b", "rnn.a"]);
    }

    #[test]
    fn names_change() {
        let names = ["cell.bias_hh", "cell.weight_hh", "out.w"];
        let chosen = selection(None, &["cell.*=gru.*_l0", "out.w=fc.weight"]);
        assert_eq!(selected(&chosen, &names, &[]).unwrap(), ["fc.weight", "gru.bias_hh_l0", "gru.weight_hh_l0"]);
        let message = selected(&selection(None, &["x*=y*"]), &names, &[]).unwrap_err();
        assert!(message.starts_with("rename x*=y*: matches no tensor"), "{message}");
        let message = selected(&selection(None, &["out.w=cell.bias_hh"]), &names, &[]).unwrap_err();
        assert_eq!(message, "rename: two tensors would be called cell.bias_hh, one of them out.w");
        for bad in ["a", "a*=b", "a*b*=c*d*", "=b", "a="] {
            assert!(bad.parse::<Rename>().is_err(), "{bad}");
        }
    }
}
