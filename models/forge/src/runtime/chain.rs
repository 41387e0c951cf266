//! A model as one graph, or as several that are run one after the other.

use std::{borrow::Cow, ops::Range, path::PathBuf};

use ort::{
    session::{Session, SessionInputValue},
    value::Tensor,
};

use super::{Sequence, failed, open_session, sequence::Held};
use crate::{
    Result,
    progress::{Progress, Silent},
};

/// One graph of a chain.
#[derive(Clone, Debug)]
pub struct Link {
    /// File of the graph.
    pub graph: PathBuf,
    /// Layers in it.
    pub layers: Range<usize>,
    /// Columns of the logits that it gives, where it gives some of them; empty: none, or all.
    pub columns: Range<usize>,
    /// Outputs that are wanted beside the logits.
    pub taps: Vec<String>,
}

/// Graphs in the order of the layers. The first embeds tokens, the last gives logits.
pub struct Chain {
    links: Vec<Link>,
    /// The session of a chain with one link stays open.
    open: Option<Session>,
}

/// What one sequence gets out of one step.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// `rows * vocabulary` logits.
    pub logits: Vec<f32>,
    /// Contents of each tap, in the order of the links and of their lists.
    pub taps: Vec<Vec<f32>>,
}

/// What one sequence is fed in one step.
#[derive(Clone, Copy, Debug)]
pub struct Feed<'a> {
    /// Tokens after those that it holds.
    pub tokens: &'a [u32],
    /// Those of them whose logits are wanted.
    pub rows: &'a [usize],
}

impl Chain {
    /// Of `links`, whose graphs are opened when they are run.
    pub fn new(links: Vec<Link>) -> Self {
        Self { links, open: None }
    }

    /// The graphs.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Feeds every sequence. Of a chain with several links, one session is in memory at a time.
    pub fn step(&mut self, sequences: &mut [Sequence], feeds: &[Feed<'_>]) -> Result<Vec<Step>> {
        let links = 0..self.links.len();
        self.advance(links, sequences, feeds, &Silent)
    }

    /// The same through some of the links, with progress by tokens and links. A step is over,
    /// and its tokens are held, after the last link of all.
    pub fn advance(
        &mut self,
        links: Range<usize>,
        sequences: &mut [Sequence],
        feeds: &[Feed<'_>],
        progress: &dyn Progress,
    ) -> Result<Vec<Step>> {
        let mut steps = vec![Step::default(); sequences.len()];
        let vocabulary = self.links.last().map_or(0, |link| link.columns.end);
        for index in links {
            let link = &self.links[index];
            let mut session = match self.open.take() {
                Some(session) => session,
                None => open_session(&link.graph)?,
            };
            let last = index + 1 == self.links.len();
            for ((sequence, feed), step) in sequences.iter_mut().zip(feeds).zip(&mut steps) {
                run(&mut session, link, (sequence, *feed), (step, vocabulary)).map_err(failed)?;
                progress.advance(feed.tokens.len() as u64);
                if last {
                    sequence.past_len += feed.tokens.len();
                    sequence.stream.clear();
                }
            }
            if self.links.len() == 1 {
                self.open = Some(session);
            }
        }
        Ok(steps)
    }
}

/// Names of the hidden states between two graphs: inputs of one, outputs of the one before.
pub(crate) const STREAM_IN: [&str; 2] = ["stream.residual", "stream.update"];
pub(crate) const STREAM_OUT: [&str; 2] = ["next.residual", "next.update"];

fn run(
    session: &mut Session,
    link: &Link,
    (sequence, feed): (&mut Sequence, Feed<'_>),
    (step, vocabulary): (&mut Step, usize),
) -> ort::Result<()> {
    let count = feed.tokens.len();
    let total = sequence.past_len + count;
    let wanted: Vec<String> = session.inputs().iter().map(|input| input.name().to_owned()).collect();
    let mut inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = Vec::new();
    for name in &wanted {
        let scalar: [usize; 0] = [];
        let value: SessionInputValue<'_> = match name.as_str() {
            "input_ids" => {
                let ids: Vec<i64> = feed.tokens.iter().map(|t| i64::from(*t)).collect();
                Tensor::from_array(([1, count], ids))?.into()
            }
            "seqlens_k" => Tensor::from_array(([1], vec![total as i32 - 1]))?.into(),
            "total_len" => Tensor::from_array((scalar, vec![total as i32]))?.into(),
            "logits_rows" => {
                let rows: Vec<i64> = feed.rows.iter().map(|r| *r as i64).collect();
                Tensor::from_array(([rows.len()], rows))?.into()
            }
            _ => continue,
        };
        inputs.push((name.as_str().into(), value));
    }
    for (name, held) in STREAM_IN.into_iter().zip(&sequence.stream) {
        inputs.push((name.into(), held.input()?));
    }
    for layer in link.layers.clone() {
        for (kind, held) in ["key", "value"].into_iter().zip(&sequence.past[layer]) {
            inputs.push((format!("past.{layer}.{kind}").into(), held.input()?));
        }
    }
    let outputs = session.run(inputs)?;
    for layer in link.layers.clone().filter(|_| sequence.goes_on) {
        for (kind, held) in ["key", "value"].into_iter().zip(&mut sequence.past[layer]) {
            if let Some(value) = outputs.get(format!("present.{layer}.{kind}")) {
                *held = Held::copy(value)?;
            }
        }
    }
    if let Some(logits) = outputs.get("logits") {
        let logits = logits.try_extract_tensor::<f32>()?.1;
        if link.columns.is_empty() {
            step.logits = logits.to_vec();
        } else {
            step.logits.resize(feed.rows.len() * vocabulary, 0.0);
            let rows = step.logits.chunks_exact_mut(vocabulary).zip(logits.chunks_exact(link.columns.len()));
            rows.for_each(|(row, piece)| row[link.columns.clone()].copy_from_slice(piece));
        }
    } else {
        // The pieces of the output matrix all take what comes out of the last layer.
        let stream = STREAM_OUT.iter().filter_map(|name| outputs.get(name)).map(Held::copy);
        sequence.stream = stream.collect::<ort::Result<_>>()?;
    }
    for tap in link.taps.iter().filter_map(|name| outputs.get(name)) {
        step.taps.push(tap.try_extract_tensor::<f32>()?.1.to_vec());
    }
    Ok(())
}
