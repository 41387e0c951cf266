//! What is answered to one request.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use super::{Act, Door, Repo, Seen, Shared, git_blob, sha256};

const PIECE: usize = 64 * 1024;

/// Answers; whether the connection may be used again.
pub(super) fn answer(shared: &Shared, seen: &Seen, act: Option<&Act>, out: &TcpStream) -> bool {
    match act {
        Some(Act::Silent) => return stand_still(out),
        Some(Act::Status(status, headers, body)) => return plain(out, *status, headers, body.as_bytes()),
        Some(Act::Page) => {
            return plain(out, 200, "content-type: text/html; charset=utf-8\r\n", b"<html>Log in</html>");
        }
        Some(Act::Redirect(to)) => return plain(out, 302, &format!("location: {to}\r\n"), b""),
        Some(Act::Loop) => return plain(out, 302, &format!("location: {}\r\n", seen.target), b""),
        Some(Act::Listing(body)) => return plain(out, 200, "content-type: application/json\r\n", body),
        _ => {}
    }
    let (repo, token) = {
        let state = shared.lock();
        (state.repo.clone(), state.token.clone())
    };
    if seen.door != Door::Storage
        && let Some(token) = token
        && seen.header("authorization") != Some(&format!("Bearer {token}"))
    {
        return if seen.header("authorization").is_some() {
            error(out, 401, "", "Invalid credentials in Authorization header")
        } else {
            error(
                out,
                401,
                "GatedRepo",
                "Access to model is restricted. You must be authenticated to access it.",
            )
        };
    }
    match seen.door {
        Door::Api => listing(&repo, seen, out),
        Door::Resolve => resolve(shared, &repo, seen, act, out),
        Door::Storage => {
            let sum = seen.target.trim_start_matches("/blobs/").split('?').next().unwrap_or_default();
            match repo.files.values().find(|content| sha256(content) == sum) {
                Some(content) => file(shared, seen, content, &format!("etag: \"{sum}-1\"\r\n"), act, out),
                None => plain(out, 403, "content-type: application/xml\r\n", b"<Error>AccessDenied</Error>"),
            }
        }
    }
}

fn error(out: &TcpStream, status: u16, code: &str, words: &str) -> bool {
    let code = if code.is_empty() { String::new() } else { format!("x-error-code: {code}\r\n") };
    plain(out, status, &format!("{code}x-error-message: {words}\r\n"), b"")
}

fn listing(repo: &Repo, seen: &Seen, out: &TcpStream) -> bool {
    let path = seen.target.split('?').next().unwrap_or_default().trim_start_matches("/api/models/");
    let Some((name, revision)) = path.split_once("/revision/") else {
        return error(out, 404, "RepoNotFound", "");
    };
    if repo.formerly.as_deref() == Some(name) {
        let to = format!("/api/models/{}/revision/{revision}?blobs=true", repo.name);
        return plain(out, 307, &format!("location: {to}\r\n"), b"");
    }
    if name != repo.name {
        return error(out, 404, "RepoNotFound", "Repository not found");
    }
    if revision != "main" && revision != repo.commit {
        return error(out, 404, "RevisionNotFound", "Invalid rev id");
    }
    plain(out, 200, "content-type: application/json\r\n", repo.listing().to_string().as_bytes())
}

fn resolve(shared: &Shared, repo: &Repo, seen: &Seen, act: Option<&Act>, out: &TcpStream) -> bool {
    let Some((name, rest)) = seen.target.trim_start_matches('/').split_once("/resolve/") else {
        return error(out, 404, "RepoNotFound", "");
    };
    let (commit, path) = rest.split_once('/').unwrap_or_default();
    if repo.formerly.as_deref() == Some(name) {
        let to = format!("/{}/resolve/{rest}", repo.name);
        return plain(out, 307, &format!("location: {to}\r\n"), b"");
    }
    let Some(content) = repo.files.get(path).filter(|_| name == repo.name && commit == repo.commit) else {
        return error(out, 404, "EntryNotFound", "Entry not found");
    };
    let sum = sha256(content);
    let commit = format!("x-repo-commit: {commit}\r\n");
    if !Repo::is_large(content) {
        return file(
            shared,
            seen,
            content,
            &format!("{commit}etag: \"{}\"\r\n", git_blob(content)),
            act,
            out,
        );
    }
    let linked = if let Some(Act::Linked(other)) = act { other } else { &sum };
    let head = format!(
        "{commit}x-linked-etag: \"{linked}\"\r\nx-linked-size: {}\r\nlocation: http://{}/blobs/{sum}?X-Sig=abc\r\n",
        content.len(),
        shared.storage
    );
    plain(out, 302, &head, b"")
}

fn file(
    shared: &Shared,
    seen: &Seen,
    content: &[u8],
    head: &str,
    act: Option<&Act>,
    out: &TcpStream,
) -> bool {
    let mut content = content.to_vec();
    if let Some(Act::Flip(at)) = act {
        content[*at] ^= 0x55;
    }
    let ranged = seen.header("range").is_some() && !matches!(act, Some(Act::IgnoreRange));
    let from = if ranged { seen.from() } else { 0 };
    if ranged && from >= content.len() {
        return plain(out, 416, &format!("content-range: bytes */{}\r\n", content.len()), b"");
    }
    let body = &content[from..];
    let (status, range) = match (ranged, act) {
        (true, Some(Act::ContentRange(wrong))) => (206, format!("content-range: {wrong}\r\n")),
        (true, _) => {
            (206, format!("content-range: bytes {from}-{}/{}\r\n", content.len() - 1, content.len()))
        }
        _ => (200, String::new()),
    };
    let length = match act {
        Some(Act::Chunked) => "transfer-encoding: chunked\r\n".to_owned(),
        Some(Act::Longer(by)) => format!("content-length: {}\r\n", body.len() as i64 + by),
        _ => format!("content-length: {}\r\n", body.len()),
    };
    let packed = if matches!(act, Some(Act::Packed)) { "content-encoding: gzip\r\n" } else { "" };
    let kind = "content-type: application/octet-stream\r\naccept-ranges: bytes\r\n";
    let head = format!("HTTP/1.1 {status} X\r\n{kind}{head}{range}{length}{packed}\r\n");
    if write(out, head.as_bytes()).is_none() {
        return false;
    }
    let stop = match act {
        Some(Act::Cut(n) | Act::Stall(n) | Act::Pause(n)) => body.len().min(*n),
        _ => body.len(),
    };
    let pace = matches!(act, Some(Act::Pace));
    let chunked = matches!(act, Some(Act::Chunked));
    if send(shared, out, &body[..stop], pace, chunked).is_none() {
        return false;
    }
    match act {
        Some(Act::Cut(_)) => {
            let _ = rustix::net::sockopt::set_socket_linger(out, Some(Duration::ZERO));
            false
        }
        Some(Act::Stall(_)) => stand_still(out),
        Some(Act::Pause(_)) => {
            shared.change(|state| state.paused += 1);
            shared.wait(|state| state.goes_on);
            send(shared, out, &body[stop..], false, false).is_some()
        }
        Some(Act::Chunked) => write(out, b"0\r\n\r\n").is_some(),
        Some(Act::Longer(_)) => false,
        _ => true,
    }
}

fn send(shared: &Shared, out: &TcpStream, body: &[u8], pace: bool, chunked: bool) -> Option<()> {
    for piece in body.chunks(PIECE) {
        if chunked {
            write(out, format!("{:x}\r\n", piece.len()).as_bytes())?;
        }
        write(out, piece)?;
        if chunked {
            write(out, b"\r\n")?;
        }
        shared.change(|state| state.sent += piece.len() as u64);
        if pace {
            // So that a kill finds it in the middle.
            thread::park_timeout(Duration::from_millis(1));
        }
    }
    Some(())
}

fn plain(out: &TcpStream, status: u16, headers: &str, body: &[u8]) -> bool {
    let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n", body.len());
    write(out, head.as_bytes()).and_then(|()| write(out, body)).is_some()
}

fn write(mut out: &TcpStream, bytes: &[u8]) -> Option<()> {
    out.write_all(bytes).ok()
}

/// Until the caller goes away.
fn stand_still(mut out: &TcpStream) -> bool {
    let _ = out.read(&mut [0]);
    false
}
