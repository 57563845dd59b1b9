//! The loopback OCSP responder: answers servers' own OCSP clients from verified staples in memory.
//!
//! nginx with `ssl_stapling_responder`, Apache with `SSLStaplingForceURL` and anything else that asks by
//! GET or POST (RFC 6960 appendix A, RFC 9919) gets what the [`Table`] holds. Nothing is forwarded, and
//! nothing is signed here: a certificate that is not known is `unauthorized`, one without a staple
//! `tryLater`.
//!
//! `listen` makes sockets or takes them over, `worker` is the threads, which take connections (`taken`) and
//! answer most of them on the spot (`brief`). `seats` bounds how many others they serve at once, `stream` is
//! such a client's connection. `http` answers one request: `asked` finds the
//! OCSP request in a path, `table` the certificate that it means, `answer` says what HTTP has to say
//! about the staple. `askers` keeps which processes have what.

mod answer;
mod asked;
mod askers;
mod attendant;
mod brief;
mod counts;
mod http;
mod listen;
mod seats;
mod stream;
mod table;
mod taken;
mod worker;

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::time::UnixTime;
pub use asked::readings;
pub use askers::Askers;
pub use attendant::Attendant;
pub use counts::Tally;
use http::Desk;
pub(super) use listen::make_way;
pub use listen::{Address, BindError, Listener};
use seats::Seats;
pub use table::{Size, Table};
use worker::{Room, Worker};

/// Connections at a time. Servers hold theirs for an instant; the rest of a process's usual 1,024
/// descriptors is the agent's.
const MAX_CONNECTIONS: usize = 512;
/// An answer takes far less once its request is here.
const LAST_ANSWERS: Duration = Duration::from_millis(50);
/// A few threads answer more than any machine's servers ask.
const MAX_THREADS: usize = 4;

/// The responder; what it listens on is closed when it is dropped.
pub struct Responder {
    workers: Vec<Worker>,
    room: Arc<Room>,
    open: bool,
    /// What is listened on, and what ends that.
    listening: Vec<(Listener, CancellationToken)>,
    /// Handed over by the service manager, and not in use now.
    spare: Vec<Listener>,
}

impl Responder {
    /// A responder that listens nowhere yet; `now` is UTC.
    ///
    /// # Errors
    /// The system has no thread or event loop to spare.
    pub fn new(
        table: Arc<Table>,
        now: impl Fn() -> UnixTime + Send + Sync + 'static,
    ) -> io::Result<Responder> {
        let desk = Desk::new(table, Arc::new(now));
        let room = Arc::new(Room { desk, seats: Arc::new(Seats::new(MAX_CONNECTIONS)) });
        let threads = available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS);
        let workers: Vec<Worker> =
            (0..threads).map(Worker::start).collect::<io::Result<Vec<_>>>()?;
        Ok(Responder { workers, room, open: false, listening: Vec::new(), spare: Vec::new() })
    }

    /// Takes over sockets that the service manager made: [`Responder::listen`] uses them instead of
    /// making its own on the same addresses.
    pub fn take_over(&mut self, given: Vec<Listener>) {
        self.spare.extend(given);
    }

    /// Listens on these addresses, and on no others from now on. Those that are listened on already
    /// stay as they are; clients that connect wait until [`Responder::open`].
    ///
    /// Gives the addresses that cannot be had; the others are listened on all the same.
    pub fn listen(&mut self, addresses: &[Address]) -> Vec<BindError> {
        let unwanted = self.listening.extract_if(.., |(one, _)| !addresses.contains(one.address()));
        for (listener, stop) in unwanted {
            stop.cancel();
            if listener.is_given() {
                self.spare.push(listener);
            }
        }
        let mut failed = Vec::new();
        for address in addresses {
            if self.addresses().any(|one| one == address) {
                continue;
            }
            let spare = self.spare.iter().position(|one| one.address() == address);
            let listener = match spare {
                Some(at) => Ok(self.spare.swap_remove(at)),
                None => Listener::bind(address),
            };
            match listener.and_then(|listener| self.add(listener)) {
                Ok(()) => {}
                Err(error) => failed.push(error),
            }
        }
        failed
    }

    fn add(&mut self, listener: Listener) -> Result<(), BindError> {
        let stop = CancellationToken::new();
        if self.open {
            self.accept(&listener, &stop)?;
        }
        self.listening.push((listener, stop));
        Ok(())
    }

    /// Begins to take connections: what is known is in the table.
    ///
    /// Gives the sockets that cannot be used after all.
    pub fn open(&mut self) -> Vec<BindError> {
        if std::mem::replace(&mut self.open, true) {
            return Vec::new();
        }
        let all = self.listening.iter();
        all.filter_map(|(listener, stop)| self.accept(listener, stop).err()).collect()
    }

    /// One thread takes all that comes by a socket: where several wait for it, each connection wakes all of
    /// them, and all but one in vain.
    fn accept(&self, listener: &Listener, stop: &CancellationToken) -> Result<(), BindError> {
        let failed = |cause| BindError { address: listener.address().clone(), cause };
        let place = self.addresses().position(|one| one == listener.address());
        let place = place.unwrap_or(self.listening.len());
        let worker = &self.workers[place % self.workers.len()];
        worker.accept(&listener.socket, &self.room, stop).map_err(failed)
    }

    /// Takes no connections any more, and answers those that it has: whoever connects from now on waits
    /// for the next to listen on sockets that were handed over.
    pub async fn close(self) {
        self.listening.iter().for_each(|(_, stop)| stop.cancel());
        tokio::time::sleep(LAST_ANSWERS).await;
    }

    /// Where it listens.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.listening.iter().map(|(listener, _)| listener.address())
    }

    /// What it has answered since the start.
    pub fn tally(&self) -> Tally {
        self.room.desk.counts.tally()
    }

    /// How many clients are connected now.
    pub fn connections(&self) -> usize {
        self.room.seats.taken()
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        for (_, stop) in &self.listening {
            stop.cancel();
        }
    }
}
