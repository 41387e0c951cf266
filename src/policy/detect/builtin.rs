//! The detectors that every policy may name.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use regex::Regex;

use super::{Look, Span, checksum};

/// Names that stand for several detectors.
pub(super) const GROUPS: &[(&str, &[&str])] = &[
    ("secret", &["api_token", "jwt", "private_key"]),
    ("personal", &["card", "email", "iban", "phone"]),
    ("network", &["ipv4", "ipv6", "mac"]),
];

/// `local@domain.tld` (RFC 5321 without quoted local parts), the domain in any script.
const EMAIL: &str = r"[\p{L}\p{N}._%+'-]+@(?:[\p{L}\p{N}-]+\.)+\p{L}[\p{L}\p{N}-]*\p{L}";

/// International numbers with `+` or `00`, and national ones with separators.
const PHONE: &str = r"(?x)
    (?: \+ | \b00 ) [1-9] (?: [\ .()/-]{0,2} [0-9] ){6,14} \b
    | \( [0-9]{2,5} \) (?: [\ ./-]? [0-9] ){5,10} \b
    | \b 0 [0-9]{1,4} [\ ./-] (?: [0-9]{2,8} [\ ./-]? ){1,4} [0-9]{2} \b
    | \b [2-9][0-9]{2} [\ .-] [0-9]{3} [\ .-] [0-9]{4} \b
";

const IPV4: &str = r"\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b";

/// Whatever looks like groups with colons; the check reads it as an address.
const IPV6: &str =
    r"(?:\b[0-9A-Fa-f]{1,4}:|\B::)[0-9A-Fa-f:]*(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f]|:)";

/// EUI-48 and EUI-64 in pairs, and in the groups of four that switches print.
const MAC: &str = r"(?x)
    \b [0-9A-Fa-f]{2} (?: (?: : [0-9A-Fa-f]{2} ){5} | (?: - [0-9A-Fa-f]{2} ){5} )
       (?: (?: : [0-9A-Fa-f]{2} ){2} | (?: - [0-9A-Fa-f]{2} ){2} )? \b
    | \b [0-9A-Fa-f]{4} (?: \. [0-9A-Fa-f]{4} ){2} \b
";

/// Country and check digits (ISO 13616), with which an IBAN begins.
const IBAN: &str = r"\b[A-Za-z]{2}[0-9]{2}";

/// Digits in groups; the check looks for card numbers in them.
const CARD: &str = r"[0-9](?:[ -]?[0-9]){12,}";

/// PEM (RFC 7468), the likes of it that `OpenSSH` and `OpenPGP` write, and those of `PuTTY` and age; to the end of the text
/// when the end line is missing.
const PRIVATE_KEY: &str = r"(?xs)
    -----BEGIN\ [A-Z0-9\ ]*PRIVATE\ KEY(?:\ BLOCK)?-----
        .*? (?: -----END\ [A-Z0-9\ ]*PRIVATE\ KEY(?:\ BLOCK)?----- | \z )
    | PuTTY-User-Key-File-[0-9]: .* \z
    | AGE-SECRET-KEY-1[0-9A-Z]{20,}
";

/// Tokens whose makers gave them a beginning to be known by.
const API_TOKEN: &str = r"(?x)
    \b (?:
        hf_[A-Za-z0-9]{20,}
      | api_org_[A-Za-z0-9]{20,}
      | sk-[A-Za-z0-9_-]{20,}
      | (?: sk | rk | pk ) _ (?: live | test ) _[A-Za-z0-9]{16,}
      | gh[oprsu]_[A-Za-z0-9]{36,}
      | github_pat_[A-Za-z0-9_]{22,}
      | gl (?: pat | dt | rt | cbt | ptt | ft | soat | agent ) -[A-Za-z0-9_-]{20,}
      | (?: AKIA | ASIA | ABIA | ACCA ) [0-9A-Z]{16}
      | AIza[0-9A-Za-z_-]{35}
      | ya29\.[0-9A-Za-z_-]{20,}
      | xox[abeoprs]-[0-9A-Za-z-]{10,}
      | xapp-[0-9A-Za-z-]{10,}
      | SG\.[0-9A-Za-z_-]{16,}\.[0-9A-Za-z_-]{16,}
      | npm_[A-Za-z0-9]{36}
      | pypi-[A-Za-z0-9_-]{32,}
      | do[opr]_v1_[a-f0-9]{64}
      | tskey-[a-z]+-[A-Za-z0-9-]{16,}
      | r8_[A-Za-z0-9]{30,}
      | gsk_[A-Za-z0-9]{30,}
      | hvs\.[A-Za-z0-9_-]{24,}
    )
";

/// Three parts of base64url, the first of which begins a JSON object (RFC 7515, RFC 7516).
const JWT: &str = r"\beyJ[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*){2,4}";

/// All of them.
pub(super) fn all() -> BTreeMap<String, Look> {
    let regex = |pattern| Regex::new(pattern).expect("the built-in patterns compile");
    let looks = [
        ("email", Look::Pattern(regex(EMAIL))),
        ("phone", Look::Checked(regex(PHONE), phone)),
        ("ipv4", Look::Checked(regex(IPV4), ipv4)),
        ("ipv6", Look::Checked(regex(IPV6), ipv6)),
        ("mac", Look::Pattern(regex(MAC))),
        ("iban", Look::From(regex(IBAN), checksum::iban)),
        ("card", Look::Checked(regex(CARD), checksum::card)),
        ("private_key", Look::Pattern(regex(PRIVATE_KEY))),
        ("api_token", Look::Pattern(regex(API_TOKEN))),
        ("jwt", Look::Pattern(regex(JWT))),
    ];
    looks.into_iter().map(|(name, look)| (name.to_owned(), look)).collect()
}

fn whole(text: &str, good: bool) -> Vec<Span> {
    good.then_some(Span { start: 0, end: text.len() }).into_iter().collect()
}

/// As many digits as numbers have (E.164: at most 15, and two zeros before them); no day of a calendar.
fn phone(text: &str) -> Vec<Span> {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let groups = text.split(|c: char| !c.is_ascii_digit()).map(str::len);
    let is_day = groups.eq([2, 2, 4]);
    whole(text, (7..=17).contains(&digits) && !is_day)
}

fn ipv4(text: &str) -> Vec<Span> {
    // Zeros in front, which the standard library refuses, do not hide an address.
    let octet = |part: &str| part.parse::<u16>().is_ok_and(|n| n <= 255);
    whole(text, text.parse::<Ipv4Addr>().is_ok() || text.split('.').all(octet))
}

/// The longest text of an address: eight groups, the last two as IPv4.
const IPV6_BYTES_MAX: usize = 45;

/// The first group from which on the rest is an address: a word of hexadecimal letters may stand before it.
fn ipv6(text: &str) -> Vec<Span> {
    // Colons that end a sentence are not the address's.
    let end = if text.ends_with("::") { text.len() } else { text.trim_end_matches(':').len() };
    // The pattern takes as much as it gets; only its end can be an address, with the colon before it.
    let near = end.saturating_sub(IPV6_BYTES_MAX + 1);
    let groups = text[near..].match_indices(':').map(|(at, _)| near + at + 1);
    let groups = (near == 0).then_some(0).into_iter().chain(groups);
    let good = |part: &str| part.bytes().any(|b| b.is_ascii_hexdigit()) && part.parse::<Ipv6Addr>().is_ok();
    let start = groups.take_while(|at| *at < end).find(|at| good(&text[*at..end]));
    start.map(|start| Span { start, end }).into_iter().collect()
}
