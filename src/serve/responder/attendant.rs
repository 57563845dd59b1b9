//! What the threads do with one connection, without threads: for whoever tries out very many of them.

use std::sync::Arc;

use bytes::Bytes;
use tokio::net::UnixStream;

use super::brief;
use super::http::Desk;
use super::seats::Seats;
use super::table::Table;
use super::worker::{Room, at_length};
use crate::time::UnixTime;

/// Answers from a table.
pub struct Attendant {
    room: Arc<Room>,
}

impl Attendant {
    /// `now` is UTC.
    pub fn new(table: Arc<Table>, now: impl Fn() -> UnixTime + Send + Sync + 'static) -> Attendant {
        let desk = Desk::new(table, Arc::new(now));
        Attendant { room: Arc::new(Room { desk, seats: Arc::new(Seats::new(1)) }) }
    }

    /// The whole reply to the first that a client says, the short way; `None`: it is not for that, and
    /// goes the long one.
    pub fn briefly(&self, said: &[u8]) -> Option<Vec<u8>> {
        brief::reply(said, &self.room.desk, None)
    }

    /// Answers all that a client says, the long way; returns when the client has closed its side, or has
    /// been told to go.
    pub async fn at_length(&self, client: UnixStream) {
        let seat = self.room.seats.take();
        at_length(client, Bytes::new(), self.room.clone(), seat, None).await;
    }
}
