//! Models that Keras saved: `.keras` of Keras 3, and `.h5` of Keras 2 and 3.

mod config;
mod h5;
mod layers;

use serde_json::Value;
use skinny::model::Model;

use crate::archive::Archive;
use crate::error::Result;
use h5::{Array, File, bad};

/// Where the weights of a model's layers lie.
enum Weights {
    /// In groups called after classes, as in `.keras`: `layers/gru/cell/vars/0`.
    ByClass,
    /// In groups called after layers, which list their weights, as in `.h5`.
    ByName,
}

/// The model of a file, and what was assumed.
pub(crate) fn read(bytes: &[u8]) -> Result<(Model, Vec<String>)> {
    if bytes.starts_with(b"PK") {
        let archive = Archive::new(bytes).ok_or_else(|| bad("its zip directory is damaged"))?;
        let file = |name: &str| {
            let data = archive.file(name).ok_or_else(|| bad(format!("it has no {name}")))?;
            data.map_err(|cause| bad(format!("{name} {cause}")))
        };
        let config = file("config.json")?;
        let config = serde_json::from_slice(&config).map_err(|cause| bad(format!("config.json: {cause}")))?;
        return layers::model(&config, &File::open(&file("model.weights.h5")?)?, &Weights::ByClass);
    }
    let file = File::open(bytes)?;
    let config = h5::texts(&file.root()?, "model_config").and_then(|texts| texts.into_iter().next());
    let config = config.ok_or_else(|| {
        bad("an HDF5 file of weights without a model; save the whole model with model.save(\"model.keras\")")
    })?;
    let config: Value = serde_json::from_str(&config).map_err(|cause| bad(format!("model_config: {cause}")))?;
    layers::model(&config, &file, &Weights::ByName)
}

impl Weights {
    /// The arrays of a layer, in Keras's order. `inner` has the paths of its parts within its group.
    fn of(&self, file: &File, layer: &config::Described<'_>, inner: &[&str]) -> Result<Vec<Array>> {
        let missing = || layer.refused("its weights are not in the file");
        match self {
            Weights::ByClass => {
                let mut arrays = Vec::new();
                let group = file.group(&format!("layers/{}", layer.group));
                let group = group.or_else(|| file.group(&format!("layers/{}", layer.name))).ok_or_else(missing)?;
                for part in inner {
                    let vars = match *part {
                        "" => "vars".to_owned(),
                        part => format!("{part}/vars"),
                    };
                    let mut part = group.clone();
                    for name in vars.split('/') {
                        part = part.group(name).map_err(|_| missing())?;
                    }
                    let (_, names) = part.member_names().map_err(bad)?;
                    for i in 0..names.len() {
                        arrays.push(file.array(&part, &i.to_string())?);
                    }
                }
                Ok(arrays)
            }
            Weights::ByName => {
                // A file that was saved with model.save has the weights of layers in a group of its own.
                let group = file.group("model_weights").map_or_else(|| file.root(), Ok)?;
                let group = group.group(layer.name).map_err(|_| missing())?;
                let names = h5::texts(&group, "weight_names").ok_or_else(missing)?;
                names.iter().map(|name| file.array(&group, name)).collect()
            }
        }
    }
}
