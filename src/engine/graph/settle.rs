//! What a published graph's border does not say, found out by running it.
//!
//! Whether attention writes into the cache that it is given or makes a longer one, and
//! whether logits come for each token or for the last, stands nowhere in the file. So the
//! ways are tried, the cheapest first, with a few tokens: the first on which the graph runs
//! and agrees with itself is taken. Agreeing means that tokens fed at once, in two parts and
//! one by one give the same logits but for rounding, which is what a cache is for.

use ort::session::Session;

use crate::engine::{
    border::{Border, Rows},
    ffi::{Cell, CellShape, Keeping, Span, Table},
};

/// Tokens of a trial.
const TOKENS: usize = 6;
/// Room of a trial: more than its tokens, so that a shared buffer differs from a grown one.
const ROOM: usize = 16;
/// Logits of the same tokens must be as alike as this (correlation, 1 is the same). Four-bit weights with
/// eight-bit activations were seen at 0.9999; a cache that is not read, below 0.9.
const ALIKE: f64 = 0.99;

/// Tries the ways, and makes a cell of the first that holds.
pub(super) fn settle(
    session: Session,
    table: Option<Table>,
    border: Border,
    slots: usize,
    context: usize,
) -> Result<Cell, String> {
    let ways = [Keeping::InPlace, Keeping::Growing].into_iter().flat_map(|keeping| {
        let rows = match &border.rows {
            Rows::Unsaid => vec![Rows::All, Rows::Last],
            said => vec![said.clone()],
        };
        rows.into_iter().map(move |rows| (keeping, rows))
    });
    let ways: Vec<_> = ways.collect();
    let trial = |keeping| CellShape { keeping, slots: 1, context: ROOM };
    let mut cell = Cell::new(session, table, border.clone(), trial(Keeping::InPlace));
    let mut why = Vec::new();
    for (keeping, rows) in ways {
        let border = Border { rows: rows.clone(), ..border.clone() };
        cell = cell.rebuilt(border.clone(), trial(keeping));
        // A way on which the graph does not run is no error that anybody should read about.
        let quiet = tracing::subscriber::NoSubscriber::new();
        match tracing::subscriber::with_default(quiet, || agrees(&mut cell)) {
            Ok(()) => {
                tracing::debug!(?keeping, ?rows, "the graph is used like this");
                return Ok(cell.rebuilt(border, CellShape { keeping, slots, context }));
            }
            Err(reason) => why.push(format!("with its cache {}: {reason}", name(keeping))),
        }
    }
    Err(why.join("; "))
}

const fn name(keeping: Keeping) -> &'static str {
    match keeping {
        Keeping::InPlace => "in place",
        Keeping::Growing => "growing",
    }
}

fn agrees(cell: &mut Cell) -> Result<(), String> {
    let vocabulary = cell.border().vocabulary;
    let tokens: Vec<u32> = (1..=TOKENS).map(|n| (n * vocabulary / (TOKENS + 1)) as u32).collect();
    let whole = cell.run(Span::Slot(0), &tokens, &[0], &[TOKENS - 1])?.to_vec();
    if !whole.iter().all(|l| l.is_finite()) || whole.iter().all(|l| *l == whole[0]) {
        return Err("its logits are all the same, or no numbers".into());
    }
    cell.run(Span::Slot(0), &tokens[..2], &[0], &[1])?;
    let parts = cell.run(Span::Slot(0), &tokens[2..], &[2], &[TOKENS - 3])?;
    alike(&whole, parts, "in two parts")?;
    cell.run(Span::Slot(0), &tokens[..1], &[0], &[0])?;
    let mut last = Vec::new();
    for (at, token) in tokens.iter().enumerate().skip(1) {
        last = cell.run(Span::First(1), &[*token], &[at], &[0])?.to_vec();
    }
    alike(&whole, &last, "one by one")
}

fn alike(whole: &[f32], other: &[f32], how: &str) -> Result<(), String> {
    let found = correlation(whole, other);
    if found >= ALIKE {
        return Ok(());
    }
    Err(format!("tokens fed {how} give other logits than at once (correlation {found:.3})"))
}

/// Pearson's; not a number where one of the two is constant.
fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let mean = |x: &[f32]| x.iter().map(|v| f64::from(*v)).sum::<f64>() / x.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut both, mut of_a, mut of_b) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (f64::from(*x) - mean_a, f64::from(*y) - mean_b);
        both += x * y;
        of_a += x * x;
        of_b += y * y;
    }
    both / (of_a * of_b).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_are_alike_but_for_rounding_or_not_at_all() {
        let logits = [1.0, -2.0, 0.5, 3.0, -1.0];
        assert!(alike(&logits, &logits.map(|l| l * 1.001 + 0.01), "").is_ok());
        assert!(alike(&logits, &[1.0, -2.0, 3.0, 0.5, -1.0], "").is_err());
        assert!(alike(&logits, &[0.0; 5], "").is_err());
        assert!(alike(&logits, &[f32::NAN; 5], "").is_err());
    }
}
