//! Which provider took how many nodes of the graph.
//!
//! ONNX Runtime says so only in its log, at the finest level: `All nodes placed on [X].
//! Number of nodes: 3`, or `Node(s) placed on [X]. …` for each of several. That level costs
//! time in every run, so it is used where a graph is tried out and not where it serves.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use ort::logging::LoggerFunction;
use serde::{Deserialize, Serialize};

/// Name of the processor's provider in ONNX Runtime's log.
const CPU: &str = "CPUExecutionProvider";

/// Nodes by ONNX Runtime's name of the provider that took them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement(BTreeMap<String, usize>);

impl Placement {
    /// Providers and their nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, usize)> {
        self.0.iter().map(|(name, nodes)| (name.as_str(), *nodes))
    }

    /// All nodes.
    pub fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// Those that did not go to the processor's provider.
    pub fn taken(&self) -> usize {
        self.nodes().filter(|(name, _)| *name != CPU).map(|(_, nodes)| nodes).sum()
    }

    fn read(&mut self, line: &str) {
        let found = line.split_once("placed on [").and_then(|(_, rest)| {
            let (name, rest) = rest.split_once(']')?;
            let (_, nodes) = rest.split_once("Number of nodes: ")?;
            Some((name, nodes.trim().parse::<usize>().ok()?))
        });
        if let Some((name, nodes)) = found {
            *self.0.entry(name.to_owned()).or_default() += nodes;
        }
    }
}

/// Listens to the log of sessions while they are made.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Watch(Arc<Mutex<Placement>>);

impl Watch {
    pub(in crate::engine) fn logger(&self) -> LoggerFunction {
        let placement = Arc::clone(&self.0);
        Arc::new(move |_, _, _, _, line: &str| {
            placement.lock().unwrap_or_else(PoisonError::into_inner).read(line);
        })
    }

    pub(in crate::engine) fn placement(&self) -> Placement {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_counted_out_of_the_log() {
        let mut placement = Placement::default();
        for line in [
            "Node placements",
            " Node(s) placed on [XnnpackExecutionProvider]. Number of nodes: 7",
            "  MatMul (node_1)",
            " Node(s) placed on [CPUExecutionProvider]. Number of nodes: 2",
            "All nodes placed on [CPUExecutionProvider]. Number of nodes: 3",
            "placed on [X",
            "placed on [X]. Number of nodes: many",
        ] {
            placement.read(line);
        }
        assert_eq!((placement.total(), placement.taken()), (12, 7));
        let nodes: Vec<_> = placement.nodes().collect();
        assert_eq!(nodes, [("CPUExecutionProvider", 5), ("XnnpackExecutionProvider", 7)]);
    }
}
