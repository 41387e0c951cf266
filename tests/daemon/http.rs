//! HTTP/1.1 by hand: sends exactly the bytes it is given, and so can also misbehave.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    time::Duration,
};

use serde_json::Value;

use crate::harness::{DEADLINE, until};

pub(crate) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// One connection. Every read and write has the deadline of the harness.
pub(crate) struct Connection {
    stream: Stream,
    /// Bytes that have come and have not been used.
    buffer: Vec<u8>,
}

/// Status and headers; names in lower case.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

/// One server-sent event.
#[derive(Debug, PartialEq)]
pub(crate) enum Event {
    Data(Value),
    Done,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    pub(crate) fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e} in {} {text:?}", self.status))
    }

    /// The JSON of an answer that must be a good one.
    pub(crate) fn good(&self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// The text of a chat.
    pub(crate) fn text(&self) -> String {
        self.good()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    }

    /// The documents of a stream that has come as a whole.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = String::from_utf8(self.body.clone()).unwrap();
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    /// Status, `error.code` and `error.param`; empty where there is none.
    pub(crate) fn error(&self) -> (u16, String, String) {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let text = |key: &str| body["error"][key].as_str().unwrap_or_default().to_owned();
        (self.status, text("code"), text("param"))
    }
}

/// The bytes of a request with a JSON body.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: outpost\r\n{headers}content-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

impl Connection {
    pub(crate) fn new(stream: Stream) -> Self {
        let deadline = Some(DEADLINE);
        match &stream {
            Stream::Unix(s) => s.set_read_timeout(deadline).and_then(|()| s.set_write_timeout(deadline)),
            Stream::Tcp(s) => s.set_read_timeout(deadline).and_then(|()| s.set_write_timeout(deadline)),
        }
        .unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Unix(s) => s.write_all(bytes),
            Stream::Tcp(s) => s.write_all(bytes),
        }
    }

    /// Says that nothing more will be sent; still reads.
    pub(crate) fn half_close(&self) {
        match &self.stream {
            Stream::Unix(s) => s.shutdown(Shutdown::Write),
            Stream::Tcp(s) => s.shutdown(Shutdown::Write),
        }
        .unwrap();
    }

    /// Sends a request and reads its whole answer.
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.ask_with(method, path, "", body)
    }

    /// The same with more header lines.
    pub(crate) fn ask_with(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: Option<&Value>,
    ) -> Answer {
        let body = body.map(Value::to_string).unwrap_or_default();
        self.send(&request(method, path, headers, body.as_bytes())).unwrap();
        self.answer()
    }

    /// Sends a chat that streams; its events come from [`Connection::event`].
    pub(crate) fn stream(&mut self, path: &str, body: &Value) -> Head {
        self.send(&request("POST", path, "", body.to_string().as_bytes())).unwrap();
        let head = self.head().unwrap().expect("an answer");
        assert_eq!(head.status, 200, "{:?}", self.rest_of(&head));
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        head
    }

    /// The next answer, which must come.
    pub(crate) fn answer(&mut self) -> Answer {
        self.try_answer().unwrap().expect("an answer before the end of the connection")
    }

    /// The next answer; `None` when the connection ends without one.
    pub(crate) fn try_answer(&mut self) -> io::Result<Option<Answer>> {
        let Some(head) = self.head()? else { return Ok(None) };
        let body = self.rest_of(&head)?;
        Ok(Some(Answer { status: head.status, head, body }))
    }

    /// Whether `100 Continue` comes next; waits for it.
    pub(crate) fn is_asked_to_continue(&mut self) -> bool {
        let first = self.line().unwrap();
        first.is_some_and(|l| l.starts_with("HTTP/1.1 100 ")) && self.line().unwrap() == Some(String::new())
    }

    /// Sends one byte after the other until there is an answer.
    pub(crate) fn trickle(&mut self, byte: u8) -> Answer {
        self.read_deadline(Duration::from_millis(200));
        until("there is an answer", || {
            let _ = self.send(&[byte]);
            match self.fill() {
                Ok(_) => Some(()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => None,
                Err(e) => panic!("{e}"),
            }
        });
        self.read_deadline(DEADLINE);
        self.answer()
    }

    fn read_deadline(&self, deadline: Duration) {
        match &self.stream {
            Stream::Unix(s) => s.set_read_timeout(Some(deadline)),
            Stream::Tcp(s) => s.set_read_timeout(Some(deadline)),
        }
        .unwrap();
    }

    /// Status and headers of the next answer, past any `100 Continue`.
    pub(crate) fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            let Some(first) = self.line()? else { return Ok(None) };
            let status = first.split(' ').nth(1).and_then(|s| s.parse().ok());
            let status = status.unwrap_or_else(|| panic!("not a status line: {first:?}"));
            let mut headers = Vec::new();
            while let Some(line) = self.line()?.filter(|l| !l.is_empty()) {
                let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("not a header: {line:?}"));
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            if status != 100 {
                return Ok(Some(Head { status, headers }));
            }
        }
    }

    fn rest_of(&mut self, head: &Head) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if head.header("transfer-encoding").is_some() {
            while let Some(chunk) = self.chunk()? {
                body.extend(chunk);
            }
        } else if let Some(length) = head.header("content-length") {
            body = self.exactly(length.parse().unwrap())?;
        }
        Ok(body)
    }

    /// The next event of a stream; comments are passed over.
    pub(crate) fn event(&mut self) -> Option<Event> {
        let chunk = String::from_utf8(self.chunk().unwrap()?).unwrap();
        // The daemon ends every chunk with the end of an event; several may share one.
        let mut events = chunk.split_inclusive("\n\n");
        let first = events.next().unwrap().to_owned();
        let rest: String = events.collect();
        if !rest.is_empty() {
            let rest = format!("{:x}\r\n{rest}\r\n", rest.len()).into_bytes();
            self.buffer.splice(..0, rest);
        }
        match first.trim_end().strip_prefix("data: ") {
            Some("[DONE]") => Some(Event::Done),
            Some(data) => Some(Event::Data(serde_json::from_str(data).unwrap())),
            None => self.event(),
        }
    }

    /// Reads on until these words have come; what has come is kept.
    pub(crate) fn read_until(&mut self, words: &str) {
        while !self.buffer.windows(words.len()).any(|part| part == words.as_bytes()) {
            assert!(self.fill().unwrap(), "the connection ended before `{words}`");
        }
    }

    /// Every event that is left, with the end of the stream.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.event()).collect()
    }

    /// Whether the other side has closed; waits for it.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.fill().unwrap()
    }

    /// The next chunk of a chunked body (RFC 9112, §7.1); `None` at its end.
    fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(size) = self.line()? else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        let size = usize::from_str_radix(&size, 16).unwrap_or_else(|_| panic!("not a chunk: {size:?}"));
        let chunk = self.exactly(size)?;
        self.line()?;
        Ok((size > 0).then_some(chunk))
    }

    fn exactly(&mut self, size: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < size {
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buffer.drain(..size).collect())
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let line = self.buffer.drain(..end + 2).take(end).collect();
                return Ok(Some(String::from_utf8(line).unwrap()));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Reads once; `false` at the end.
    fn fill(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 16 * 1024];
        let read = loop {
            let read = match &mut self.stream {
                Stream::Unix(s) => s.read(&mut bytes),
                Stream::Tcp(s) => s.read(&mut bytes),
            };
            match read {
                // Signals end a read that has a deadline: signal(7).
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // A connection that is cut off while it still sends is as closed as any other.
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => break 0,
                read => break read?,
            }
        };
        self.buffer.extend_from_slice(&bytes[..read]);
        Ok(read > 0)
    }
}
