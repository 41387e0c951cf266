//! How far a change of some matrices moves what a model predicts.
//!
//! The model has 8-bit weights and is cut into parts. What comes into the first part with a
//! change is as it was without it, and is kept: a change is run from there on.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use outpost::model::KvType;

use crate::{
    Error, Result,
    arch::Decoder,
    cut,
    graph::{Importance, Part, Plan, Store},
    limits,
    progress::Silent,
    quant::Code,
    recipe::{Cache, Recipe},
    runtime::{Chain, Feed, Link, Sequence},
    source::Tensors,
};

/// Block of the 8-bit weights.
const BLOCK: usize = 32;
/// Runs of the sample for one measurement.
const WINDOWS: usize = 2;
/// Every so many positions, distributions are compared. Bounds the memory for logits: 128
/// rows of a vocabulary of 131,072 are 67 MB, and two sets are held.
const ROW_STEP: usize = 8;

/// The number formats that changes are measured against.
pub fn recipe(decoder: &Decoder) -> Recipe {
    Recipe::uniform(decoder, Code::Int8, BLOCK)
}

/// The model, ready to be changed.
pub struct Probe<'a> {
    source: (&'a dyn Tensors, &'a Decoder, &'a Importance),
    store: &'a mut Store,
    dir: PathBuf,
    parts: Vec<Part>,
    links: Vec<Link>,
    windows: Vec<&'a [u32]>,
    rows: Vec<Vec<usize>>,
    /// Layers at which changes may begin, the first among them.
    borders: Vec<usize>,
    /// The windows as they come into the part at each border.
    entering: BTreeMap<usize, Vec<Sequence>>,
}

impl<'a> Probe<'a> {
    /// Writes the model's graphs into `dir`, where `store` lies; `tokens` will be run through
    /// them. Changes may begin at the layers `borders`.
    pub fn new(
        source: (&'a dyn Tensors, &'a Decoder, &'a Importance),
        mut borders: Vec<usize>,
        (store, dir): (&'a mut Store, &Path),
        tokens: &'a [u32],
    ) -> Result<Self> {
        let parts = cut::cut(source.1, &borders);
        borders.push(0);
        let windows: Vec<&[u32]> = tokens.chunks(limits::SAMPLE_CHUNK_TOKENS).take(WINDOWS).collect();
        let rows = windows.iter().map(|w| (0..w.len()).step_by(ROW_STEP).collect()).collect();
        let links = cut::links(&plan(source, &recipe(source.1)), &parts, (store, dir), "base", &Silent)?;
        let dir = dir.to_owned();
        Ok(Self { source, store, dir, parts, links, windows, rows, borders, entering: BTreeMap::new() })
    }

    /// Logits of the unchanged model. To be called first.
    pub fn base(&mut self) -> Result<Vec<f32>> {
        let shape = self.source.1.cache_shape();
        let begin = |window: &&[u32]| Sequence::of_one_step(shape, KvType::F32, window.len());
        let mut sequences: Vec<Sequence> = self.windows.iter().map(begin).collect();
        let mut chain = Chain::new(self.links.clone());
        let heads = self.parts.iter().position(Part::projects).unwrap_or(0);
        for link in 0..heads {
            if self.borders.contains(&self.parts[link].layers.start) {
                self.entering.insert(link, sequences.clone());
            }
            chain.advance(link..link + 1, &mut sequences, &self.feeds(), &Silent)?;
        }
        if self.borders.contains(&self.parts[heads].layers.start) {
            self.entering.insert(heads, sequences.clone());
        }
        let steps = chain.advance(heads..self.links.len(), &mut sequences, &self.feeds(), &Silent)?;
        Ok(steps.into_iter().flat_map(|step| step.logits).collect())
    }

    /// Logits of the model with `recipe`, which differs from the unchanged one within `layers`;
    /// graphs of it are called after `name`.
    pub fn changed(&mut self, recipe: &Recipe, layers: &[usize], name: &str) -> Result<Vec<f32>> {
        let differs = |part: &Part| layers.iter().any(|layer| part.layers.contains(layer));
        let first = self.parts.iter().position(differs).unwrap_or(0);
        let known = self.entering.range(..=first).next_back();
        let (first, mut sequences) = known
            .map(|(link, all)| (*link, all.clone()))
            .ok_or_else(|| Error::Bug("the base was not run".into()))?;
        let mut links = self.links.clone();
        for index in (0..self.parts.len()).filter(|index| differs(&self.parts[*index])) {
            let part = std::slice::from_ref(&self.parts[index]);
            let place = (&mut *self.store, self.dir.as_path());
            let name = format!("{name}.{index}");
            links.splice(index..=index, cut::links(&plan(self.source, recipe), part, place, &name, &Silent)?);
        }
        let end = links.len();
        let steps = Chain::new(links).advance(first..end, &mut sequences, &self.feeds(), &Silent)?;
        Ok(steps.into_iter().flat_map(|step| step.logits).collect())
    }

    fn feeds(&self) -> Vec<Feed<'_>> {
        self.windows.iter().zip(&self.rows).map(|(tokens, rows)| Feed { tokens, rows }).collect()
    }
}

fn plan<'a>(
    (tensors, decoder, importance): (&'a dyn Tensors, &'a Decoder, &'a Importance),
    recipe: &'a Recipe,
) -> Plan<'a> {
    Plan {
        tensors,
        decoder,
        recipe,
        cache: &Cache::F32,
        context: limits::SAMPLE_CHUNK_TOKENS,
        importance: Some(importance),
        taps: false,
    }
}
