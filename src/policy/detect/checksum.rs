//! Numbers that carry their own proof.

use super::Span;

/// Countries and the characters of their IBANs (ISO 13616, the registry's release 99).
const IBAN_LENGTHS: &str = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 \
    DJ27 DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 \
    IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 \
    NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 \
    TR26 UA29 VA22 VG24 XK20 YE30";
/// Digits of payment cards (ISO/IEC 7812).
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// Bytes of the IBAN with which `text` begins; its groups may be apart by a space or a dash.
pub(super) fn iban(text: &str) -> Option<usize> {
    let country = text.get(..2)?.to_ascii_uppercase();
    let length = IBAN_LENGTHS.split(' ').find_map(|entry| entry.strip_prefix(country.as_str()))?;
    let length = length.parse().ok()?;
    let mut chars: Vec<(usize, u8)> = Vec::with_capacity(length);
    for (at, byte) in text.bytes().enumerate() {
        let apart = chars.last().is_some_and(|(last, _)| at > last + 1);
        match byte {
            b' ' | b'-' if !apart => {}
            _ if byte.is_ascii_alphanumeric() && chars.len() < length => chars.push((at, byte)),
            _ => break,
        }
    }
    (chars.len() == length && mod_97(&chars) == 1).then(|| chars[length - 1].0 + 1)
}

/// The remainder of ISO 7064 MOD 97-10, with the first four characters moved to the end.
fn mod_97(chars: &[(usize, u8)]) -> u32 {
    let (head, tail) = chars.split_at(4.min(chars.len()));
    tail.iter().chain(head).fold(0, |rest, (_, b)| {
        let value = char::from(*b).to_digit(36).unwrap_or_default();
        (if value < 10 { rest * 10 + value } else { rest * 100 + value }) % 97
    })
}

/// Card numbers in a row of digits that may have spaces or dashes between groups. A number begins
/// and ends where a group does.
pub(super) fn card(text: &str) -> Vec<Span> {
    let bytes = text.as_bytes();
    let digits: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at].is_ascii_digit()).collect();
    let begins = |n: usize| n == 0 || digits[n] > digits[n - 1] + 1;
    let ends = |n: usize| n + 1 == digits.len() || digits[n + 1] > digits[n] + 1;
    let mut found = Vec::new();
    let mut at = 0;
    while at < digits.len() {
        let number = CARD_DIGITS.rev().find(|n| {
            let last = at + n - 1;
            last < digits.len() && begins(at) && ends(last) && is_card(&digits[at..=last], bytes)
        });
        match number {
            Some(n) => {
                found.push(Span { start: digits[at], end: digits[at + n - 1] + 1 });
                at += n;
            }
            None => at += 1,
        }
    }
    found
}

/// First digit of a payment network, and the Luhn formula (ISO/IEC 7812-1, annex B).
fn is_card(digits: &[usize], bytes: &[u8]) -> bool {
    let value = |at: &usize| u32::from(bytes[*at] - b'0');
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(n, at)| match value(at) * (1 + n as u32 % 2) {
            double @ 10.. => double - 9,
            single => single,
        })
        .sum();
    (2..=6).contains(&value(&digits[0])) && sum.is_multiple_of(10)
}
