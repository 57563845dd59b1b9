//! The short way: who connects for one GET, and has said all of it, is answered by one write.
//!
//! That is how servers ask, and for them a connection costs more than the answer. So before the event loop
//! hears of a connection, what has come on it is looked at: the whole of one plain question is answered here,
//! everything else goes the long way through hyper, which would have given the same answer.

use std::os::fd::AsRawFd;

use bytes::Bytes;
use hyper::Uri;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    TRANSFER_ENCODING, UPGRADE,
};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

use super::http::{Desk, Reply};
use super::worker::MAX_HEADERS;

/// Looked at: a whole request, of most clients.
pub(super) const FIRST_BYTES: usize = 1024;
/// Around a body; more is taken when it is needed.
const HEAD_BYTES: usize = 512;

/// What makes more of a GET than a plain question.
const NOT_PLAIN: [HeaderName; 6] =
    [CONTENT_LENGTH, EXPECT, IF_MODIFIED_SINCE, IF_NONE_MATCH, TRANSFER_ENCODING, UPGRADE];

/// The whole reply to what a client has `said`, if that is the whole of one plain GET by one who asks nothing
/// more and is to be handed a staple.
pub(super) fn reply(said: &[u8], desk: &Desk, process: Option<i32>) -> Option<Vec<u8>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    // What cannot be read, or not yet, is hyper's to refuse or to wait for.
    let read = request.parse(said).ok()?;
    if read != httparse::Status::Complete(said.len()) || request.method != Some("GET") {
        return None;
    }
    let plain = |header: &httparse::Header<'_>| {
        NOT_PLAIN.iter().all(|name| !header.name.eq_ignore_ascii_case(name.as_str()))
    };
    if !request.headers.iter().all(plain) {
        return None;
    }
    let connection = request.headers.iter();
    let connection = connection.filter(|header| header.name.eq_ignore_ascii_case("connection"));
    let is_old = request.version == Some(0);
    if !is_last(is_old, connection.map(|header| header.value)) {
        return None;
    }
    let uri: Uri = request.path?.parse().ok()?;
    let reply = desk.at_once(uri.path(), process)?;
    Some(written(&reply, is_old, desk))
}

/// Whether a client will ask nothing more (RFC 9112 §9.3), by its version and its `Connection` headers.
pub(super) fn is_last<'a>(is_old: bool, connection: impl Iterator<Item = &'a [u8]>) -> bool {
    let (mut close, mut keep) = (false, false);
    for option in connection.flat_map(|value| value.split(|byte| *byte == b',')) {
        close |= option.trim_ascii().eq_ignore_ascii_case(b"close");
        keep |= option.trim_ascii().eq_ignore_ascii_case(b"keep-alive");
    }
    close || is_old && !keep
}

/// As hyper writes it.
fn written(reply: &Reply, is_old: bool, desk: &Desk) -> Vec<u8> {
    let body: &Bytes = reply.body();
    let mut text = Vec::with_capacity(HEAD_BYTES + body.len());
    let status: &[u8] = if is_old { b"HTTP/1.0 200 OK\r\n" } else { b"HTTP/1.1 200 OK\r\n" };
    text.extend_from_slice(status);
    let mut line = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            text.extend_from_slice(part);
        }
    };
    reply.headers().iter().for_each(|(name, value)| line(name.as_str(), value.as_bytes()));
    if !is_old {
        line(CONNECTION.as_str(), b"close");
    }
    line(CONTENT_LENGTH.as_str(), body.len().to_string().as_bytes());
    line("date", desk.date().as_bytes());
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(body);
    text
}

/// What has come on a connection and was read by nobody yet, without waiting: `None` if that is nothing.
///
/// # Errors
/// The connection has ended.
pub(super) fn hear<'a>(
    connection: &impl AsRawFd,
    room: &'a mut [u8; FIRST_BYTES],
) -> Result<Option<&'a [u8]>, Errno> {
    match recv(connection.as_raw_fd(), room, MsgFlags::MSG_DONTWAIT) {
        Ok(0) => Err(Errno::ECONNRESET),
        Ok(count) => Ok(Some(&room[..count])),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sends the last that is said on a connection, as much of it as can be without waiting: gives how many
/// bytes went. They leave at the latest when the connection is closed, in one packet with its end.
///
/// # Errors
/// The connection has ended.
pub(super) fn say(connection: &impl AsRawFd, reply: &[u8]) -> Result<usize, Errno> {
    let more = MsgFlags::from_bits_retain(nix::libc::MSG_MORE);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL | more;
    match send(connection.as_raw_fd(), reply, flags) {
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(0),
        outcome => outcome,
    }
}
