//! What this node is called.

use crate::domain::ClientId;

/// The configured name, or else the host's with what cannot stand in a topic replaced by `-`.
pub fn node_name(configured: &str) -> String {
    if configured.is_empty() {
        safe(&rustix::system::uname().nodename().to_string_lossy())
    } else {
        configured.to_owned()
    }
}

fn safe(name: &str) -> String {
    let level = |c: char| if ClientId::new(c.encode_utf8(&mut [0; 4])).is_some() { c } else { '-' };
    let name: String = name.chars().map(level).collect();
    match name.as_str() {
        "" => "unnamed".into(),
        // The topics of pools have it in the same place.
        "pool" => "pool-".into(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_level_of_a_topic() {
        assert_eq!(node_name("press-3"), "press-3");
        assert_eq!(safe("press 3/é+#"), "press-3----");
        assert_eq!((safe("").as_str(), safe("pool").as_str()), ("unnamed", "pool-"));
        assert!(!node_name("").contains('/'));
    }
}
