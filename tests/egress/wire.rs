//! What came over the wire, byte by byte: nothing in it that a call may not carry.

use crate::hf::{Seen, TOKEN};

/// Everything that a call may say beside its body, and in which words. Whatever else the head carries is
/// news that has to be looked at here first.
fn may_say(prompt: bool, name: &str, value: &str, length: usize) -> bool {
    match name {
        "accept" => value == "*/*",
        "authorization" => value == format!("Bearer {TOKEN}"),
        "content-length" => prompt && value == length.to_string(),
        "content-type" => prompt && value == "application/json",
        "host" => value.starts_with("127.0.0.1:"),
        "user-agent" => value == concat!("outpost/", env!("CARGO_PKG_VERSION")),
        "x-hf-session-id" => prompt && is_uuid(value),
        _ => false,
    }
}

fn is_uuid(value: &str) -> bool {
    let groups: Vec<&str> = value.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12] && groups.concat().bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What a connection carried that it may not.
pub(crate) fn not_allowed(seen: &Seen) -> Vec<String> {
    let mut wrong = Vec::new();
    let prompt = match (seen.method.as_str(), seen.path.as_str()) {
        ("POST", "/v1/chat/completions") => true,
        ("GET", "/v1/models") => false,
        (method, path) => {
            wrong.push(format!("nobody has to ask for {method} {path}"));
            method == "POST"
        }
    };
    for (name, value) in &seen.headers {
        if !may_say(prompt, name, value, seen.body.len()) {
            wrong.push(format!("a call may not carry the header {name}: {value}"));
        }
    }
    let head = format!("{} {} HTTP/1.1\r\n", seen.method, seen.path).len();
    let lines: usize =
        seen.headers.iter().map(|(name, value)| name.len() + value.len() + ": \r\n".len()).sum();
    if seen.raw.len() != head + lines + "\r\n".len() + seen.body.len() {
        wrong.push(format!("there is more on the wire than a call: {}", text(&seen.raw)));
    }
    if !prompt && !seen.body.is_empty() {
        wrong.push("who asks for the catalogue sends nothing".into());
    }
    wrong
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
