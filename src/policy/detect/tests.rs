use super::*;

fn found<'t>(name: &str, text: &'t str) -> Vec<&'t str> {
    Detectors::default().find(name, text).into_iter().map(|s| &text[s.start..s.end]).collect()
}

/// Each text with what is to be found in it.
fn check(name: &str, cases: &[(&str, &[&str])]) {
    for (text, expected) in cases {
        assert_eq!(found(name, text), *expected, "{name} in {text:?}");
    }
}

#[test]
fn addresses_of_people_are_found() {
    check(
        "email",
        &[
            ("write to max.muster+q@press-3.example.com, please", &["max.muster+q@press-3.example.com"]),
            ("jürgen@bücher.example und <a@b.cd>", &["jürgen@bücher.example", "a@b.cd"]),
            ("user@localhost, @home, a@b, 5 @ 3.50", &[]),
        ],
    );
    check(
        "phone",
        &[
            ("call +49 (0)30 901820-0 now", &["+49 (0)30 901820-0"]),
            ("0049 171 1234567", &["0049 171 1234567"]),
            ("030/901820 00", &["030/901820 00"]),
            ("(415) 555-2671 or 415-555-2671", &["(415) 555-2671", "415-555-2671"]),
            ("torque +12.5 Nm at 3000 rpm, lot 4711, 2026-11-22, 01/02/2026 and 01.02.2026", &[]),
        ],
    );
}

#[test]
fn addresses_of_machines_are_found() {
    check(
        "ipv4",
        &[
            ("plc at 10.0.0.5:502, gw 192.168.001.1.", &["10.0.0.5", "192.168.001.1"]),
            ("1.2.3, 256.1.1.1, 1.2.3.4.5x", &["1.2.3.4"]),
        ],
    );
    check(
        "ipv6",
        &[
            ("at 2001:db8::1, ::1 and fe80::1%eth0", &["2001:db8::1", "::1", "fe80::1"]),
            ("bed:2001:0db8:85a3:0000:0000:8a2e:0370:7334", &["2001:0db8:85a3:0000:0000:8a2e:0370:7334"]),
            ("::ffff:10.0.0.5", &["::ffff:10.0.0.5"]),
            ("at 12:30:45 o'clock, std::vec, 1:2", &[]),
        ],
    );
    check(
        "mac",
        &[
            (
                "00:1B:44:11:3A:B7 00-1b-44-11-3a-b7 001b.4411.3ab7",
                &["00:1B:44:11:3A:B7", "00-1b-44-11-3a-b7", "001b.4411.3ab7"],
            ),
            ("00:1B:44:11:3A 00:1B-44:11:3A:B7", &[]),
        ],
    );
}

#[test]
fn numbers_with_a_checksum_are_found_and_others_are_not() {
    check(
        "iban",
        &[
            ("to DE89 3704 0044 0532 0130 00 and then", &["DE89 3704 0044 0532 0130 00"]),
            ("ab12 is my code gb29nwbk60161331926819", &["gb29nwbk60161331926819"]),
            ("NO9386011117947", &["NO9386011117947"]),
            ("DE88 3704 0044 0532 0130 00", &[]),
        ],
    );
    check(
        "card",
        &[
            ("pay 4111 1111 1111 1111 or 378282246310005.", &["4111 1111 1111 1111", "378282246310005"]),
            ("12 4111 1111 1111 1111 2025", &["4111 1111 1111 1111"]),
            ("4111 1111 1111 1112, counter 0000000000000000", &[]),
        ],
    );
}

#[test]
fn a_number_is_found_behind_any_amount_of_other_digits() {
    let text = format!("{}5555 5555 5555 4444", "1000 ".repeat(100));
    assert_eq!(found("card", &text), ["5555 5555 5555 4444"]);
}

#[test]
fn secrets_are_found_by_their_beginnings() {
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn\n-----END OPENSSH PRIVATE KEY-----";
    check("private_key", &[(&format!("x {key} y"), &[key]), ("-----BEGIN CERTIFICATE-----", &[])]);
    let cut = "-----BEGIN PRIVATE KEY-----\nMIIE and what follows";
    check("private_key", &[(cut, &[cut])]);
    let token = format!("hf_{}", "aB3".repeat(10));
    check("api_token", &[(&format!("use {token}!"), &[&token]), ("hf_short", &[])]);
    check("api_token", &[("AKIAIOSFODNN7EXAMPLE", &["AKIAIOSFODNN7EXAMPLE"])]);
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";
    check("jwt", &[(&format!("Bearer {jwt} "), &[jwt]), ("eyJ", &[])]);
}

#[test]
fn a_group_stands_for_its_detectors_and_an_unknown_name_for_nothing() {
    let detectors = Detectors::default();
    assert_eq!(
        detectors.resolve("secret").into_iter().collect::<Vec<_>>(),
        ["api_token", "jwt", "private_key"]
    );
    assert_eq!(detectors.resolve("email").len(), 1);
    assert!(detectors.resolve("e-mail").is_empty());
    for (_, members) in builtin::GROUPS {
        assert!(members.iter().all(|m| detectors.looks.contains_key(*m)));
    }
}

#[test]
fn a_detector_that_does_not_exist_finds_everything() {
    assert_eq!(found("nobody", "all of it"), ["all of it"]);
}

#[test]
fn an_operators_pattern_needs_a_literal_that_every_match_has() {
    for (pattern, good) in [
        ("SN-[0-9]{8}", true),
        ("(?:serial|batch)-[0-9]+", true),
        ("(?i)skip", true),
        ("[sk]k[ip]p", false),
        ("[0-9]{8}", false),
        ("ab[0-9]+", false),
        ("(?:serial|no)-?[0-9]+", false),
        ("(?:SN-)?[0-9]+", false),
        ("(unclosed", false),
        ("(abc[0-9]{1000}){1000}", false),
    ] {
        assert_eq!(compile(pattern).is_ok(), good, "{pattern}: {:?}", compile(pattern));
    }
}
