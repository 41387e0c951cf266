//! What is planted in requests: values that detectors have to find. No two requests hold the same one, so
//! that a value that has left is known wherever it turns up.

/// A kind of value, and the detector that has to find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Email,
    Phone,
    Ipv4,
    Mac,
    Iban,
    Serial,
    Token,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] =
        [Self::Email, Self::Phone, Self::Ipv4, Self::Mac, Self::Iban, Self::Serial, Self::Token];

    pub(crate) fn detector(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Ipv4 => "ipv4",
            Self::Mac => "mac",
            Self::Iban => "iban",
            Self::Serial => "serial",
            Self::Token => "api_token",
        }
    }

    /// Whether a rule that names this detector, or group of detectors, means it.
    pub(crate) fn is_meant_by(self, name: &str) -> bool {
        let group = match self {
            Self::Email | Self::Phone | Self::Iban => "personal",
            Self::Ipv4 | Self::Mac => "network",
            Self::Token => "secret",
            Self::Serial => "serial",
        };
        name == self.detector() || name == group
    }

    /// The value of this kind in one request: at most 10,000 policies with 100 requests each.
    pub(crate) fn value(self, seed: u64, n: u64) -> String {
        let [high, low] = (seed as u16).to_be_bytes();
        match self {
            Self::Email => format!("ann.{}.{}@plant.example", letters(seed), letters(n)),
            Self::Phone => format!("+49 30 9{seed:04}{n:04}"),
            Self::Ipv4 => format!("10.{}.{}.{}", 100 + seed % 100, 100 + seed / 100, 100 + n),
            Self::Mac => format!("02:00:{high:02x}:{low:02x}:{n:02x}:07"),
            Self::Iban => iban(370_400_440_000_000_000 + seed * 1_000 + n),
            Self::Serial => format!("SN-{}", 70_000_000 + seed * 1_000 + n),
            Self::Token => format!("sk-outpost-{:a>8}{:a>8}", letters(seed), letters(n)),
        }
    }
}

/// A German one with its check digits (ISO 13616).
fn iban(account: u64) -> String {
    let check = 98 - (u128::from(account) * 1_000_000 + 131_400) % 97;
    format!("DE{check:02}{account:018}")
}

/// A number without digits, in which no detector finds anything.
pub(crate) fn letters(n: u64) -> String {
    n.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect()
}
