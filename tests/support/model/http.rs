//! As much HTTP/1.1 (RFC 9112) as the clients of these tests speak: one request with a
//! `content-length`, one answer, and the connection is closed.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

const MAX_HEAD: usize = 64 * 1024;
const MAX_BODY: usize = 64 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Asked {
    pub(super) path: String,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Asked {
    /// A header by its lower-case name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

pub(super) fn read_request(stream: &mut TcpStream) -> Result<Asked> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut buffer = Vec::new();
    let mut chunk = [0; 16 * 1024];
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        let read = stream.read(&mut chunk)?;
        if read == 0 || buffer.len() > MAX_HEAD {
            return Err(invalid("no end of the head"));
        }
        buffer.extend_from_slice(&chunk[..read]);
    };
    let mut body = buffer.split_off(head_end + 4);
    let head = String::from_utf8_lossy(&buffer);
    let mut lines = head.lines();
    let path = lines.next().and_then(|l| l.split(' ').nth(1)).ok_or_else(|| invalid("no path"))?.to_owned();
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    let mut asked = Asked { path, headers, body: Vec::new() };
    let length = asked.header("content-length").map_or(Ok(0), str::parse).map_err(|_| invalid("a bad length"))?;
    if length > MAX_BODY {
        return Err(invalid("too long"));
    }
    while body.len() < length {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Err(invalid("a short body"));
        }
        body.extend_from_slice(&chunk[..read]);
    }
    asked.body = body;
    Ok(asked)
}

/// A whole answer in JSON.
pub(super) fn respond(stream: &mut TcpStream, status: u16, headers: &[(String, String)], body: &Value) -> Result<()> {
    let body = body.to_string();
    let mut head = format!(
        "HTTP/1.1 {status} Stand-In\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes())
}

/// An answer as server-sent events; the end of the connection is its end.
pub(super) struct Events<'a>(&'a mut TcpStream);

impl<'a> Events<'a> {
    pub(super) fn open(stream: &'a mut TcpStream) -> Result<Self> {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")?;
        Ok(Self(stream))
    }

    /// One event; `fields` is an object, its type is added.
    pub(super) fn send(&mut self, kind: &str, fields: Value) -> Result<()> {
        let mut data = fields;
        data["type"] = json!(kind);
        self.0.write_all(format!("event: {kind}\ndata: {data}\n\n").as_bytes())
    }
}
