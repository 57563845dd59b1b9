//! A listening socket that outlives the agent, as a service manager holds it.

use std::net::TcpListener;
use std::os::fd::AsRawFd;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::agent::Agent;

/// Listens, and never accepts itself.
pub struct Held(TcpListener);

impl Held {
    /// Listens on a loopback port.
    pub fn listen(port: u16) -> Held {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        // Programs started by the test inherit it.
        fcntl(&listener, FcntlArg::F_SETFD(FdFlag::empty())).expect("it is open");
        Held(listener)
    }

    /// Where.
    pub fn port(&self) -> u16 {
        self.0.local_addr().expect("it is bound").port()
    }

    /// Has an agent started with it as systemd would do (sd_listen_fds(3)).
    pub fn hand_to(&self, agent: &mut Agent) {
        let own = self.0.as_raw_fd();
        let script =
            format!("exec 3<&{own}; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" \"$@\"");
        // Other shells know descriptors of one digit only.
        agent.wrapper(&["bash", "-c", &script]);
    }
}
