//! What the operator knows of each provider, and what a rule demands of it.

use crate::domain::Zone;

/// What is known of a provider. What is not known counts as the worst.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Days that it keeps what it is sent; 0: only for as long as it answers.
    pub retention_days: Option<u32>,
    /// Whether it trains models with what it is sent.
    pub training: Option<bool>,
    /// Where it processes.
    pub region: Option<String>,
    /// Where the operator has this from.
    pub source: Option<String>,
    /// The day on which it was looked up.
    pub checked_on: Option<String>,
}

/// To whom a rule lets something go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct To {
    /// Exactly this zone.
    pub zone: Zone,
    /// Only these; empty: any that meets the other demands.
    pub providers: Vec<String>,
    /// Keeps it for at most so many days.
    pub retention_days_max: Option<u32>,
    /// `Some(false)`: does not train with it.
    pub training: Option<bool>,
    /// Processes it in one of these; empty: anywhere.
    pub region: Vec<String>,
}

impl To {
    /// Why a provider does not meet the demands; `None` when it does.
    pub fn objection(&self, zone: Zone, provider: &str, facts: Option<&Facts>) -> Option<String> {
        let unknown = Facts::default();
        let facts = facts.unwrap_or(&unknown);
        if zone != self.zone {
            return Some(format!("is in zone {}, the rule is for {}", zone.name(), self.zone.name()));
        }
        if !self.providers.is_empty() && !self.providers.iter().any(|known| known == provider) {
            return Some("is not among the rule's providers".into());
        }
        if let Some(most) = self.retention_days_max {
            match facts.retention_days {
                None => return Some("is not known to keep nothing".into()),
                Some(days) if days > most => return Some(format!("keeps what it is sent for {days} days")),
                Some(_) => {}
            }
        }
        if self.training == Some(false) {
            match facts.training {
                None => return Some("is not known to train with nothing".into()),
                Some(true) => return Some("trains with what it is sent".into()),
                Some(false) => {}
            }
        }
        if !self.region.is_empty() {
            match &facts.region {
                None => return Some("is in no known region".into()),
                Some(region) if !self.region.contains(region) => {
                    return Some(format!("is in region {region}"));
                }
                Some(_) => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_counts_as_the_worst() {
        let any = To {
            zone: Zone::Cloud,
            providers: Vec::new(),
            retention_days_max: None,
            training: None,
            region: Vec::new(),
        };
        let known = Facts {
            retention_days: Some(0),
            training: Some(false),
            region: Some("eu".into()),
            ..Facts::default()
        };
        assert_eq!(any.objection(Zone::Cloud, "x", None), None);
        assert!(any.objection(Zone::Site, "x", Some(&known)).is_some());
        let demands = [
            To { retention_days_max: Some(0), ..any.clone() },
            To { training: Some(false), ..any.clone() },
            To { region: vec!["eu".into()], ..any.clone() },
        ];
        let worse = [
            Facts { retention_days: Some(1), ..known.clone() },
            Facts { training: Some(true), ..known.clone() },
            Facts { region: Some("us".into()), ..known.clone() },
        ];
        for (to, worse) in demands.iter().zip(&worse) {
            assert_eq!(to.objection(Zone::Cloud, "x", Some(&known)), None);
            for facts in [None, Some(&Facts::default()), Some(worse)] {
                assert!(to.objection(Zone::Cloud, "x", facts).is_some(), "{to:?} {facts:?}");
            }
        }
        let named = To { providers: vec!["scaleway".into()], ..any };
        assert_eq!(named.objection(Zone::Cloud, "scaleway", None), None);
        assert!(named.objection(Zone::Cloud, "Scaleway", Some(&known)).is_some());
    }
}
