//! Names that are safe wherever they are put: a topic level, a file name, a log line.

use std::fmt;

use super::limits;

/// Whether `s` can stand for one MQTT topic level and in a header: ASCII letters, digits, `-_.:@`.
fn is_safe(s: &str, max: usize) -> bool {
    !s.is_empty()
        && s.len() <= max
        && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'@'))
}

macro_rules! safe_id {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            /// `None` when `s` is empty, too long or holds a character outside `[A-Za-z0-9._:@-]`.
            pub fn new(s: &str) -> Option<Self> {
                is_safe(s, $max).then(|| Self(s.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

safe_id!(
    /// Who asks: the unit of fairness. Over the socket it is made from the peer's user id.
    ClientId,
    limits::CLIENT_ID_BYTES_MAX
);
safe_id!(
    /// One request, unique within its client.
    RequestId,
    limits::REQUEST_ID_BYTES_MAX
);

impl ClientId {
    /// A local process, by the user that the kernel names.
    pub fn of_user(uid: u32) -> Self {
        Self(format!("uid-{uid}").into())
    }

    /// A task of the configuration, by its name: letters, digits, `-` and `_`, at most
    /// [`limits::TASK_NAME_BYTES_MAX`].
    pub fn of_task(name: &str) -> Self {
        Self(format!("task-{name}").into())
    }

    /// Whether only Outpost itself gives such names: whoever brings its own name must not have them.
    pub fn is_reserved(&self) -> bool {
        ["uid-", "tcp-", "task-"].iter().any(|prefix| self.0.starts_with(prefix))
    }

    /// A client known only by where it calls from.
    pub fn of_address(address: std::net::IpAddr) -> Self {
        Self(format!("tcp-{address}").into())
    }
}

impl RequestId {
    /// A fresh id. Version 7 of RFC 9562, so that ids sort by the time they were made.
    pub fn generate() -> Self {
        Self(uuid::Uuid::now_v7().to_string().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_never_holds_a_topic_separator_or_wildcard() {
        for bad in ["", "a/b", "a+", "#", "a b", "é", "a\n", &"x".repeat(129)] {
            assert!(RequestId::new(bad).is_none(), "{bad:?}");
        }
        assert!(RequestId::new("press-3:2026.11_22@a").is_some());
        assert!(RequestId::new(RequestId::generate().as_str()).is_some());
        for made in [ClientId::of_user(u32::MAX), ClientId::of_address("fe80::1:2:3:4".parse().unwrap())] {
            assert!(made.is_reserved());
            assert_eq!(ClientId::new(made.as_str()), Some(made));
        }
        assert!(!ClientId::new("press").unwrap().is_reserved());
    }
}
