//! Ways past the policy, really taken: what the checks are worth is shown by what they make of them.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use crate::{
    check::Played,
    hf::{Router, Seen},
    round::Round,
};

/// Addresses that are nobody's (RFC 5737).
const FOREIGN_NAMES: &str = "192.0.2.53:53";
const FOREIGN_SERVER: &str = "192.0.2.80:443";

impl Round {
    /// Takes each of them once, in a round of which nothing was wrong until now.
    pub(crate) fn bypasses_are_caught(&self) {
        let denied = self.played.iter().find(|one| self.rules.grants(&one.asked).is_empty());
        let denied = denied.expect("one of them is denied");
        self.a_denied_body_on_a_connection_of_its_own(denied);
        self.a_canary_in_a_head(denied);
        if self.before.is_some() {
            self.a_connection_to_somebody_else();
            self.a_datagram();
        }
    }

    fn a_denied_body_on_a_connection_of_its_own(&self, denied: &Played) {
        let body = &denied.asked.text;
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:1\r\n";
        let seen = call(&self.router, &format!("{head}content-length: {}\r\n\r\n{body}", body.len()));
        assert_eq!(seen.body, body.as_bytes(), "it is what the stand-in got");
        self.notices("was denied and left");
        self.notices("left to");
        self.notices("the chain and the wire do not say the same");
        self.kernel_notices("connections, the chain explains");
    }

    fn a_canary_in_a_head(&self, denied: &Played) {
        self.router.forget();
        let marker = &denied.asked.marker;
        let seen = call(&self.router, &format!("GET /v1/models HTTP/1.1\r\nx-note: {marker}\r\n\r\n"));
        assert!(seen.body.is_empty());
        self.notices("was denied and left");
        self.notices("a call may not carry the header x-note");
    }

    fn a_connection_to_somebody_else(&self) {
        let (evidence, before) = (self.evidence(), self.unexplained(&self.evidence()));
        let server: SocketAddr = FOREIGN_SERVER.parse().unwrap();
        // Nobody is there; that somebody wanted to know is enough.
        TcpStream::connect_timeout(&server, Duration::from_secs(10)).unwrap_err();
        assert_ne!(self.unexplained(&evidence), before, "the kernel counts one more");
        self.kernel_notices("connections, the chain explains");
    }

    fn a_datagram(&self) {
        let before = self.unexplained(&self.evidence());
        assert!(!before.iter().any(|what| what.contains("datagrams")), "{before:?}");
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(b"\0\0", FOREIGN_NAMES).unwrap();
        self.kernel_notices("datagrams were sent");
    }

    fn notices(&self, what: &str) {
        let wrong = self.wrong(&self.evidence());
        assert!(wrong.iter().any(|told| told.contains(what)), "nobody says `{what}`: {wrong:#?}");
    }

    fn kernel_notices(&self, what: &str) {
        let wrong = self.unexplained(&self.evidence());
        let told = wrong.iter().any(|told| told.contains(what));
        assert!(told || self.before.is_none(), "the kernel does not say `{what}`: {wrong:#?}");
    }
}

/// Says this to the stand-in, and waits until it has answered; what it got.
fn call(router: &Router, words: &str) -> Seen {
    let mut stream = TcpStream::connect(("127.0.0.1", router.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    stream.write_all(words.as_bytes()).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    router.seen().pop().unwrap()
}
