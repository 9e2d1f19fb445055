//! The network of the model file, in `f32` or in 8 bits, dense or cut to low rank.

use std::collections::HashMap;

use safetensors::{Dtype, SafeTensors};
use skinny::factored::{Gru, GruState, Linear, RankPolicy, Scratch, Weight};
use skinny::{Mat, MatMut, MatRef, Tier};

use crate::ctc::{Alphabet, GreedyDecoder};
use crate::features::{FeatureConfig, FrontEnd};

/// Why the model file cannot be used, in words.
pub type Failure = Box<dyn std::error::Error>;

/// What the file holds.
pub struct ModelFile<'a> {
    tensors: SafeTensors<'a>,
    metadata: HashMap<String, String>,
}

impl<'a> ModelFile<'a> {
    /// Reads the header.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Failure> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let metadata = header.metadata().clone().ok_or("the model file has no metadata")?;
        Ok(Self { tensors: SafeTensors::deserialize(bytes)?, metadata })
    }

    /// How sound becomes features.
    pub fn features(&self) -> Result<FeatureConfig, Failure> {
        Ok(FeatureConfig::from_metadata(&self.metadata)?)
    }

    /// A front end for one stream of sound.
    pub fn front_end(&self) -> Result<FrontEnd, Failure> {
        Ok(FrontEnd::new(self.features()?, &self.vector("features.mean")?, &self.vector("features.std")?)?)
    }

    /// The characters that the classes stand for.
    pub fn alphabet(&self) -> Result<Alphabet, Failure> {
        Ok(Alphabet::new(self.entry("alphabet")?))
    }

    /// The network in `f32`, dense.
    pub fn network(&self) -> Result<Network, Failure> {
        let layers: usize = self.entry("layers")?.parse()?;
        let gru = |layer| -> Result<Gru, Failure> {
            Ok(Gru::new(
                self.weight(&format!("gru.weight_ih_l{layer}"))?,
                self.weight(&format!("gru.weight_hh_l{layer}"))?,
                Some(self.vector(&format!("gru.bias_ih_l{layer}"))?),
                Some(self.vector(&format!("gru.bias_hh_l{layer}"))?),
            )?)
        };
        let grus = (0..layers).map(gru).collect::<Result<Vec<_>, _>>()?;
        let output = Linear::new(self.weight("fc.weight")?, Some(self.vector("fc.bias")?))?;
        Ok(Network { grus, output })
    }

    /// The network in `f32`, its recurrent layers cut to the ranks that the file names.
    pub fn low_rank_network(&self) -> Result<Network, Failure> {
        let dense = self.network()?;
        let rank = |matrix: &str, layer: usize| -> Result<RankPolicy, Failure> {
            Ok(RankPolicy::Fixed(self.entry(&format!("rank.gru.{matrix}_l{layer}"))?.parse()?))
        };
        let cut = |(layer, gru): (usize, &Gru)| -> Result<Gru, Failure> {
            Ok(gru.factor(rank("weight_ih", layer)?, rank("weight_hh", layer)?)?)
        };
        let grus = dense.grus.iter().enumerate().map(cut).collect::<Result<Vec<_>, _>>()?;
        Ok(Network { grus, output: dense.output })
    }

    fn entry(&self, key: &str) -> Result<&str, Failure> {
        Ok(self.metadata.get(key).ok_or_else(|| format!("the model file's metadata has no {key}"))?)
    }

    fn vector(&self, name: &str) -> Result<Vec<f32>, Failure> {
        let tensor = self.tensors.tensor(name).map_err(|cause| format!("{name}: {cause}"))?;
        if tensor.dtype() != Dtype::F32 {
            return Err(format!("{name}: expected F32, found {:?}", tensor.dtype()).into());
        }
        // The bytes may lie at any address.
        let (values, _) = tensor.data().as_chunks();
        Ok(values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
    }

    fn weight(&self, name: &str) -> Result<Weight, Failure> {
        let values = self.vector(name)?;
        match *self.tensors.tensor(name)?.shape() {
            [n, k] => Ok(Weight::dense(Mat::from_vec(values, n, k)?)?),
            ref shape => Err(format!("{name}: expected two dimensions, found {shape:?}").into()),
        }
    }
}

/// GRU layers, one on the other, and a linear layer to the scores of the classes.
pub struct Network {
    grus: Vec<Gru>,
    output: Linear,
}

impl Network {
    /// The same in 8 bits.
    pub fn quantize(&self, tier: Tier) -> skinny::Result<Self> {
        let grus = self.grus.iter().map(|gru| gru.quantize(tier)).collect::<skinny::Result<_>>()?;
        Ok(Self { grus, output: self.output.quantize(tier)? })
    }

    /// Numbers that the network is made of, biases included.
    pub fn parameters(&self) -> usize {
        let weight = |w: &Weight| w.rank().map_or(w.n() * w.k(), |rank| rank * (w.n() + w.k()));
        self.weights().map(weight).sum::<usize>() + self.biases()
    }

    /// Bytes of the weights as they lie in memory, scales included, and of the biases.
    pub fn bytes(&self) -> usize {
        self.weights().map(Weight::bytes).sum::<usize>() + self.biases() * size_of::<f32>()
    }

    fn weights(&self) -> impl Iterator<Item = &Weight> {
        self.grus.iter().flat_map(|gru| [gru.weight_ih(), gru.weight_hh()]).chain([self.output.weight()])
    }

    fn biases(&self) -> usize {
        let grus = self.grus.iter().flat_map(|gru| [gru.bias_ih(), gru.bias_hh()]);
        grus.chain([self.output.bias()]).flatten().map(<[f32]>::len).sum()
    }

    /// The state of one stream of sound.
    pub fn states(&self) -> skinny::Result<Vec<GruState>> {
        self.grus.iter().map(Gru::state).collect()
    }
}

/// One stream of sound on its way to text. Memory is kept from piece to piece.
pub struct Session<'a> {
    network: &'a Network,
    front_end: FrontEnd,
    states: Vec<GruState>,
    scratch: Scratch,
    decoder: GreedyDecoder<'a>,
    /// Features on their way through the layers, a row a time step.
    steps: Vec<f32>,
    outputs: Vec<f32>,
}

impl<'a> Session<'a> {
    /// A stream that has not begun.
    pub fn new(network: &'a Network, file: &ModelFile<'_>, alphabet: &'a Alphabet) -> Result<Self, Failure> {
        Ok(Self {
            network,
            front_end: file.front_end()?,
            states: network.states()?,
            scratch: Scratch::new(),
            decoder: GreedyDecoder::new(alphabet),
            steps: Vec::new(),
            outputs: Vec::new(),
        })
    }

    /// Takes the next samples, as many as there happen to be.
    pub fn push(&mut self, samples: &[f32]) -> skinny::Result<()> {
        self.front_end.push(samples, &mut self.steps);
        self.run()
    }

    /// Ends the stream and returns what was said.
    pub fn finish(mut self) -> skinny::Result<String> {
        self.front_end.finish(&mut self.steps);
        self.run()?;
        Ok(self.decoder.text().to_owned())
    }

    /// Takes the features that are ready through the network.
    fn run(&mut self) -> skinny::Result<()> {
        let mut width = self.front_end.step_len();
        let time = self.steps.len() / width;
        for (gru, state) in self.network.grus.iter().zip(&mut self.states) {
            self.outputs.resize(time * gru.hidden_size(), 0.0);
            let x = MatRef::new(&self.steps, time, width)?;
            width = gru.hidden_size();
            gru.forward(x, state, MatMut::new(&mut self.outputs, time, width)?, &mut self.scratch)?;
            std::mem::swap(&mut self.steps, &mut self.outputs);
        }
        let classes = self.network.output.output_size();
        self.outputs.resize(time * classes, 0.0);
        let x = MatRef::new(&self.steps, time, width)?;
        self.network.output.forward(x, MatMut::new(&mut self.outputs, time, classes)?, &mut self.scratch)?;
        for scores in self.outputs.chunks_exact(classes) {
            self.decoder.push(scores);
        }
        self.steps.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MODEL, RECORDINGS, wav};

    fn transcribe(network: &Network, file: &ModelFile<'_>, samples: &[f32], chunk: usize) -> String {
        let alphabet = file.alphabet().unwrap();
        let mut session = Session::new(network, file, &alphabet).unwrap();
        samples.chunks(chunk).for_each(|chunk| session.push(chunk).unwrap());
        session.finish().unwrap()
    }

    #[test]
    fn the_text_does_not_depend_on_how_sound_comes_nor_on_the_tier() {
        let file = ModelFile::new(MODEL).unwrap();
        let network = file.low_rank_network().unwrap();
        let samples: Vec<f32> =
            RECORDINGS[..5].iter().flat_map(|(name, bytes)| wav::decode(*bytes, name, 8000).unwrap()).collect();
        let expected = transcribe(&network.quantize(Tier::Portable).unwrap(), &file, &samples, samples.len());
        assert!(!expected.is_empty());
        for &tier in Tier::available() {
            let network = network.quantize(tier).unwrap();
            for chunk in [1, 77, 800, 4001] {
                assert_eq!(transcribe(&network, &file, &samples, chunk), expected, "{tier}, chunks of {chunk}");
            }
        }
    }

    #[test]
    fn a_file_that_is_no_model_is_refused() {
        assert!(ModelFile::new(&MODEL[..100]).is_err());
        assert!(ModelFile::new(b"not a model").is_err());
    }
}
