//! Why a connection failed, in words for a technician, and whether trying again can help.

use std::{error::Error, io};

use tokio_rustls::rustls::{self, AlertDescription, CertificateError};

use super::{Lost, Url, stream::OldBroker};

/// MQTT 5, section 2.4: the name of a reason code.
pub(super) const fn words(code: u8) -> &'static str {
    match code {
        0x00 => "success",
        0x10 => "no matching subscribers",
        0x80 => "unspecified error",
        0x81 => "malformed packet",
        0x82 => "protocol error",
        0x83 => "implementation specific error",
        0x84 => "unsupported protocol version",
        0x85 => "client id not valid",
        0x86 => "bad user name or password",
        0x87 => "not authorised",
        0x88 => "server unavailable",
        0x89 => "server busy",
        0x8a => "banned",
        0x8b => "server shutting down",
        0x8c => "bad authentication method",
        0x8d => "keep-alive timeout",
        0x8e => "session taken over",
        0x8f => "topic filter invalid",
        0x90 => "topic name invalid",
        0x91 => "packet id in use",
        0x92 => "packet id not found",
        0x93 => "receive maximum exceeded",
        0x94 => "topic alias invalid",
        0x95 => "packet too large",
        0x96 => "message rate too high",
        0x97 => "quota exceeded",
        0x98 => "administrative action",
        0x99 => "payload format invalid",
        0x9a => "retain not supported",
        0x9b => "QoS not supported",
        0x9c => "use another server",
        0x9d => "server moved",
        0x9e => "shared subscriptions not supported",
        0x9f => "connection rate exceeded",
        0xa0 => "maximum connect time",
        0xa1 => "subscription identifiers not supported",
        0xa2 => "wildcard subscriptions not supported",
        _ => "unknown reason",
    }
}

/// Codes after which the same CONNECT fails again until somebody changes something.
const fn is_permanent(code: u8) -> bool {
    matches!(code, 0x81 | 0x82 | 0x84..=0x87 | 0x8a | 0x8c | 0x90 | 0x95 | 0x99..=0x9b | 0x9d)
}

/// CONNACK with a code.
pub(super) fn refused(code: u8) -> Lost {
    let next = match code {
        0x84 => "; Outpost speaks MQTT 5: update the broker",
        0x85 => "; change `mqtt.client_id`, or let the broker accept it",
        0x86 | 0x87 | 0x8c => {
            "; check `mqtt.username` and `mqtt.password_file` or `mqtt.cert`, and what the broker allows them"
        }
        0x95 => "; the broker's largest packet is too small even for CONNECT",
        0x9a => "; the last will is retained: let the broker keep retained messages",
        0x9b => "; Outpost needs QoS 1",
        _ => "",
    };
    let reason = format!("the broker refused the connection: {} (0x{code:02X}){next}", words(code));
    Lost { reason, permanent: is_permanent(code), taken_over: false }
}

/// DISCONNECT from the broker, with what it says beside the code.
pub(super) fn disconnected(code: u8, said: Option<&str>) -> Lost {
    let next = match code {
        0x8e => "; another client uses our client id: give each daemon its own `mqtt.client_id`",
        _ => "",
    };
    let said = said.map(|s| format!(", it says {s:?}")).unwrap_or_default();
    Lost {
        reason: format!("the broker ended the connection: {} (0x{code:02X}){said}{next}", words(code)),
        permanent: matches!(code, 0x87 | 0x8a | 0x98 | 0x9d | 0x9e | 0xa2),
        taken_over: code == 0x8e,
    }
}

/// The network or TLS failed; `connecting`: before the broker had said anything.
pub(super) fn io(url: &Url, error: &io::Error, connecting: bool) -> Lost {
    if let Some(tls) = find::<rustls::Error>(error) {
        return self::tls(url, tls);
    }
    if find::<OldBroker>(error).is_some() {
        return refused(0x84);
    }
    let why = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused: nothing listens there".into(),
        io::ErrorKind::TimedOut => "no answer in time".into(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            let hint = match (connecting, url.tls) {
                (false, _) => "",
                (true, false) => " before it began: does that port want TLS (mqtts://)?",
                (true, true) => " before it began: does that port speak TLS?",
            };
            format!("the connection was cut{hint}")
        }
        // What the library's reader says to half a packet.
        io::ErrorKind::Other if error.to_string() == "bytes remaining on stream" => {
            "the connection was cut in the middle of a packet".into()
        }
        _ => error.to_string(),
    };
    Lost::passing(format!("{url}: {why}"))
}

fn tls(url: &Url, error: &rustls::Error) -> Lost {
    use CertificateError as Bad;
    let (why, permanent) = match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            Bad::Expired | Bad::ExpiredContext { .. } => {
                ("the broker's certificate has expired, or this board's clock is wrong".into(), true)
            }
            // Boards without a battery clock start in the past: time will mend it.
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                ("the broker's certificate is not valid yet: is this board's clock right?".into(), false)
            }
            Bad::UnknownIssuer | Bad::BadSignature => {
                ("the broker's certificate is not signed by the authority in `mqtt.ca`".into(), true)
            }
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => (
                format!("the broker's certificate is not for `{}`: use a name that is in it", url.host),
                true,
            ),
            other => (format!("the broker's certificate is not accepted: {other}"), true),
        },
        rustls::Error::AlertReceived(alert) => alert_words(*alert),
        rustls::Error::InvalidMessage(_) => ("what answers there does not speak TLS".into(), true),
        other => (format!("TLS failed: {other}"), false),
    };
    Lost { reason: format!("{url}: {why}"), permanent, taken_over: false }
}

/// What the broker dislikes about us.
fn alert_words(alert: AlertDescription) -> (String, bool) {
    use AlertDescription as Alert;
    match alert {
        Alert::CertificateRequired => {
            ("the broker wants a client certificate: set `mqtt.cert` and `mqtt.key`".into(), true)
        }
        Alert::CertificateExpired => ("the certificate in `mqtt.cert` has expired".into(), true),
        Alert::UnknownCA | Alert::BadCertificate | Alert::CertificateUnknown | Alert::CertificateRevoked => {
            (format!("the broker does not accept the certificate in `mqtt.cert` ({alert:?})"), true)
        }
        Alert::HandshakeFailure => (
            "the broker refused the TLS handshake: does it want a client certificate (`mqtt.cert`)?".into(),
            true,
        ),
        Alert::ProtocolVersion => ("the broker speaks only TLS older than 1.2".into(), true),
        other => (format!("the broker refused TLS: {other:?}"), false),
    }
}

/// An error of type `T` inside `error`, however deep.
fn find<T: Error + 'static>(error: &io::Error) -> Option<&T> {
    let mut inner: Option<&(dyn Error + 'static)> = error.get_ref().map(|e| e as _);
    while let Some(e) = inner {
        if let Some(found) = e.downcast_ref::<T>() {
            return Some(found);
        }
        // An io::Error hides what it wraps from `source`.
        inner = match e.downcast_ref::<io::Error>() {
            Some(io) => io.get_ref().map(|e| e as _),
            None => e.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_do_and_whether_waiting_helps() {
        let lost = refused(0x87);
        assert!(lost.permanent && !lost.taken_over);
        assert!(lost.reason.contains("not authorised (0x87)"), "{lost}");
        assert!(lost.reason.contains("`mqtt.password_file`"), "{lost}");
        assert!(!refused(0x89).permanent, "a busy broker is tried again at the usual pace");
    }

    #[test]
    fn a_takeover_is_told_from_every_other_end() {
        assert!(disconnected(0x8e, None).taken_over);
        for code in (0x80..=0xa2).filter(|c| *c != 0x8e) {
            assert!(!disconnected(code, None).taken_over, "0x{code:02X}");
        }
        let lost = disconnected(0x8b, Some("until noon"));
        assert!(!lost.permanent && lost.reason.contains("until noon"), "{lost}");
    }

    #[test]
    fn a_tls_error_is_found_below_layers_of_io_errors() {
        let url: Url = "mqtts://broker".parse().unwrap();
        let inner = io::Error::new(
            io::ErrorKind::InvalidData,
            rustls::Error::AlertReceived(AlertDescription::CertificateRequired),
        );
        let lost = io(&url, &io::Error::other(inner), true);
        assert!(lost.permanent && lost.reason.contains("`mqtt.cert`"), "{lost}");
    }

    #[test]
    fn a_clock_in_the_past_is_no_reason_to_give_up() {
        let url: Url = "mqtts://broker".parse().unwrap();
        let early = rustls::Error::InvalidCertificate(CertificateError::NotValidYet);
        assert!(!tls(&url, &early).permanent);
    }
}
