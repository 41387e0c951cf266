//! What the bill says of our calls, and where our books say something else. Pure.
//!
//! The Hub shows sums by session (`…/billing/usage-by-inference-session`); each of our calls is a session
//! of its own. A call that is not listed is not free: its price comes later, half an hour at most.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::domain::MicroUsd;

/// A bill: what each session cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Bill(BTreeMap<String, Cents>);

/// An amount as the bill tells it: cents of a US dollar, and as exact as its digits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cents(f64);

impl Bill {
    /// What a session cost, when that is on it.
    pub fn of(&self, session: &str) -> Option<Cents> {
        self.0.get(session).copied()
    }

    /// Reads a bill. Entries that cannot be read are passed over; the error is for the log.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(body).map_err(|e| format!("the bill is not JSON: {e}"))?;
        let periods = value["periods"].as_array().ok_or("the bill has no `periods`")?;
        let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
        let sessions = periods.iter().filter_map(|period| period["sessions"].as_array()).flatten();
        for entry in sessions {
            let cents = entry["costCents"].as_f64().filter(|cents| cents.is_finite() && *cents >= 0.0);
            let (Some(session), Some(cents)) = (entry["id"].as_str(), cents) else { continue };
            // A session that lasts beyond midnight may stand in two periods.
            *sums.entry(session).or_default() += cents;
        }
        Ok(Self(sums.into_iter().map(|(session, cents)| (session.to_owned(), Cents(cents))).collect()))
    }
}

impl Cents {
    /// What is to stand in the books in the place of `booked`; `None` where the bill says the same as far
    /// as it tells. Whole cents are taken for rounded: most calls cost less than one. Nothing at all is
    /// what a bill says before it knows.
    pub fn correction(self, booked: MicroUsd) -> Option<MicroUsd> {
        let rounding = if self.0.fract() == 0.0 { 0.5 } else { 0.0 };
        let off = (self.0 - booked.usd() * 100.0).abs();
        let billed = MicroUsd::of_usd(self.0 / 100.0);
        (self.0 > 0.0 && off > rounding && billed != booked).then_some(billed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bill_is_read_by_session_and_what_is_odd_is_passed_over() {
        let body = r#"{"currency": "USD", "periods": [
            {"sessions": [{"id": "a", "requestCount": 1, "costCents": 0.0123}, {"id": "b", "costCents": -1}]},
            {"sessions": [{"id": "a", "costCents": 0.01}, {"costCents": 3}, {"id": "c", "costCents": 2}, 7]},
            {"more": []}]}"#;
        let bill = Bill::parse(body.as_bytes()).unwrap();
        assert_eq!(["a", "b", "c"].map(|id| bill.of(id)), [Some(Cents(0.0223)), None, Some(Cents(2.0))]);
        for wrong in ["", "[]", r#"{"periods": 3}"#] {
            assert!(Bill::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_books_are_corrected_as_far_as_the_bill_is_exact() {
        let booked = MicroUsd(120);
        assert_eq!(Cents(0.012).correction(booked), None, "the same");
        assert_eq!(Cents(0.0155).correction(booked), Some(MicroUsd(155)));
        assert_eq!(Cents(0.005).correction(booked), Some(MicroUsd(50)));
        assert_eq!(Cents(0.0).correction(booked), None, "not priced yet");
        assert_eq!(Cents(1.0).correction(MicroUsd(6_000)), None, "it may be 0.6 cents, rounded");
        assert_eq!(Cents(1.0).correction(MicroUsd(4_000)), Some(MicroUsd(10_000)));
    }
}
