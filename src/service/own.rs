//! Outpost's own fields of a request: under `outpost` in the body, or beside the body as
//! HTTP headers and MQTT user properties. Said twice, they must say the same.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::{Error, Lane, RequestId, Result, Zone, limits};

/// The fields as they were given; held against their ranges by the methods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Own {
    /// Id of the request, unique within its client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Priority class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<Lane>,
    /// Milliseconds from now after which the answer is worthless.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// The operator's class for this data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_class: Option<String>,
    /// How far the data may go; can only tighten what the policy allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_max: Option<Zone>,
    /// A newer request with the same key replaces a queued one of the same client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<String>,
    /// Whether pieces of the answer are wanted while it is written (MQTT).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deltas: Option<bool>,
}

impl Own {
    /// From name-value pairs of text; names that are not ours are passed over.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self> {
        let mut own = Self::default();
        for (name, value) in pairs {
            let wrong = |expected: &str| {
                Error::invalid(
                    format!("outpost.{name}"),
                    format!("property `{name}` is `{value}`, expected {expected}"),
                )
            };
            match name {
                "id" => set(&mut own.id, value.to_owned(), name)?,
                "lane" => {
                    let lane = Lane::ALL.into_iter().find(|lane| lane.name() == value);
                    set(&mut own.lane, lane.ok_or_else(|| wrong("interactive, normal or batch"))?, name)?;
                }
                "deadline_ms" => {
                    let ms = value.parse().map_err(|_| wrong("whole milliseconds"))?;
                    set(&mut own.deadline_ms, ms, name)?;
                }
                "data_class" => set(&mut own.data_class, value.to_owned(), name)?,
                "zone_max" => {
                    let zone = Zone::named(value).ok_or_else(|| wrong("device, site or cloud"))?;
                    set(&mut own.zone_max, zone, name)?;
                }
                "supersedes" => set(&mut own.supersedes, value.to_owned(), name)?,
                "deltas" => {
                    let deltas = value.parse().map_err(|_| wrong("true or false"))?;
                    set(&mut own.deltas, deltas, name)?;
                }
                _ => {}
            }
        }
        Ok(own)
    }

    /// What body and envelope say together.
    pub fn merge(self, outside: &Self) -> Result<Self> {
        Ok(Self {
            id: agree("id", self.id, outside.id.clone())?,
            lane: agree("lane", self.lane, outside.lane)?,
            deadline_ms: agree("deadline_ms", self.deadline_ms, outside.deadline_ms)?,
            data_class: agree("data_class", self.data_class, outside.data_class.clone())?,
            zone_max: agree("zone_max", self.zone_max, outside.zone_max)?,
            supersedes: agree("supersedes", self.supersedes, outside.supersedes.clone())?,
            deltas: agree("deltas", self.deltas, outside.deltas)?,
        })
    }

    /// The id, when one was given.
    pub fn request_id(&self) -> Result<Option<RequestId>> {
        let Some(id) = &self.id else { return Ok(None) };
        RequestId::new(id).map(Some).ok_or_else(|| {
            let allowed = limits::REQUEST_ID_BYTES_MAX;
            Error::invalid("outpost.id", format!("an id is 1 to {allowed} of letters, digits and -_.:@"))
        })
    }

    /// Time from now after which the answer is worthless.
    pub fn deadline(&self) -> Result<Option<Duration>> {
        let Some(ms) = self.deadline_ms else { return Ok(None) };
        let deadline = Duration::from_millis(ms);
        if ms == 0 || deadline > limits::DEADLINE_MAX {
            let max = limits::DEADLINE_MAX.as_millis();
            return Err(Error::invalid(
                "outpost.deadline_ms",
                format!("must lie in 1 to {max} milliseconds"),
            ));
        }
        Ok(Some(deadline))
    }

    /// That the free texts are not too long.
    pub fn check_lengths(&self) -> Result<()> {
        let bounded = [
            ("outpost.supersedes", &self.supersedes, limits::SUPERSEDES_BYTES_MAX),
            ("outpost.data_class", &self.data_class, limits::DATA_CLASS_BYTES_MAX),
        ];
        for (field, value, max) in bounded {
            if value.as_ref().is_some_and(|v| v.is_empty() || v.len() > max) {
                return Err(Error::invalid(field, format!("`{field}` must have 1 to {max} bytes")));
            }
        }
        Ok(())
    }
}

fn set<T: PartialEq>(field: &mut Option<T>, value: T, name: &str) -> Result<()> {
    *field = agree(name, field.take(), Some(value))?;
    Ok(())
}

fn agree<T: PartialEq>(name: &str, inside: Option<T>, outside: Option<T>) -> Result<Option<T>> {
    match (inside, outside) {
        (Some(a), Some(b)) if a != b => {
            let why = format!("`{name}` is given twice and differs: say it once");
            Err(Error::invalid(format!("outpost.{name}"), why))
        }
        (a, b) => Ok(a.or(b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_read_by_name_and_strangers_pass() {
        let own = Own::from_pairs([
            ("lane", "batch"),
            ("deadline_ms", "250"),
            ("zone_max", "site"),
            ("deltas", "true"),
            ("supersedes", "line-3"),
            ("traceparent", "00-1"),
            ("id", "a"),
        ])
        .unwrap();
        assert_eq!((own.lane, own.deadline_ms), (Some(Lane::Batch), Some(250)));
        assert_eq!((own.zone_max, own.deltas), (Some(Zone::Site), Some(true)));
        assert_eq!((own.supersedes.as_deref(), own.id.as_deref()), (Some("line-3"), Some("a")));
    }

    #[test]
    fn a_property_that_makes_no_sense_is_refused_by_name() {
        for (name, value) in [
            ("lane", "fast"),
            ("deadline_ms", "soon"),
            ("deadline_ms", "-1"),
            ("zone_max", "moon"),
            ("deltas", "1"),
        ] {
            let error = Own::from_pairs([(name, value)]).unwrap_err();
            assert_eq!(error.param, Some(format!("outpost.{name}")), "{value}");
        }
        assert!(Own::from_pairs([("lane", "batch"), ("lane", "normal")]).is_err());
        assert!(Own::from_pairs([("lane", "batch"), ("lane", "batch")]).is_ok());
    }

    #[test]
    fn what_is_said_twice_must_agree() {
        let own = |id: Option<&str>, lane| Own { id: id.map(Into::into), lane, ..Own::default() };
        let merged = own(Some("a"), None).merge(&own(None, Some(Lane::Batch))).unwrap();
        assert_eq!(merged, own(Some("a"), Some(Lane::Batch)));
        assert_eq!(own(Some("a"), None).merge(&own(Some("a"), None)).unwrap(), own(Some("a"), None));
        let error = own(Some("a"), None).merge(&own(Some("b"), None)).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("outpost.id"));
    }

    #[test]
    fn texts_and_deadlines_have_bounds() {
        let bad =
            |own: Own| own.check_lengths().is_err() || own.deadline().is_err() || own.request_id().is_err();
        assert!(bad(Own { supersedes: Some(String::new()), ..Own::default() }));
        assert!(bad(Own { supersedes: Some("x".repeat(257)), ..Own::default() }));
        assert!(bad(Own { data_class: Some("x".repeat(65)), ..Own::default() }));
        assert!(bad(Own { deadline_ms: Some(0), ..Own::default() }));
        assert!(bad(Own { deadline_ms: Some(u64::MAX), ..Own::default() }));
        assert!(bad(Own { id: Some("a/b".into()), ..Own::default() }));
        assert!(!bad(Own::default()));
    }
}
