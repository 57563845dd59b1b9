//! What each kind of server is like: a row of the table in the design, §7.

use std::time::Duration;

use crate::discover::Kind;
use crate::plan::{Bare, Delivery, TakesUp};
use crate::reload;
use crate::time::HOUR;

/// exim notices a new file and reads it some seconds later (62).
const EXIM_LOOKS: Duration = Duration::from_secs(6);

/// nginx that asks our responder: each worker when a client comes, and again after an hour at most (21,
/// 25). After a reload each goes without until it has asked.
pub(super) const ASKING_WORKERS: Delivery = Delivery {
    takes_up: TakesUp::ByItself { within: HOUR },
    per_worker: true,
    stops_early: Duration::ZERO,
    bare: Bare::Nothing,
    takes_revoked: true,
};

/// How staple files are taken up by the servers that read them; by nobody known, if there are none.
///
/// What several servers read is handled so that none of them comes to harm.
pub(super) fn delivery(kinds: impl IntoIterator<Item = Kind>) -> Delivery {
    let nobody = Delivery {
        takes_up: TakesUp::ByItself { within: Duration::ZERO },
        per_worker: false,
        stops_early: Duration::ZERO,
        bare: Bare::Nothing,
        takes_revoked: true,
    };
    kinds.into_iter().map(of).fold(nobody, |one, other| Delivery {
        takes_up: match (one.takes_up, other.takes_up) {
            (TakesUp::ByItself { within: a }, TakesUp::ByItself { within: b }) => {
                TakesUp::ByItself { within: a.max(b) }
            }
            _ => TakesUp::OnReload,
        },
        per_worker: one.per_worker || other.per_worker,
        stops_early: one.stops_early.max(other.stops_early),
        bare: match (one.bare, other.bare) {
            (Bare::KeepOld, _) | (_, Bare::KeepOld) => Bare::KeepOld,
            (Bare::Placeholder, _) | (_, Bare::Placeholder) => Bare::Placeholder,
            (Bare::Nothing, Bare::Nothing) => Bare::Nothing,
        },
        takes_revoked: one.takes_revoked && other.takes_revoked,
    })
}

/// The same, where a server does not start without a staple, if that is so.
pub(super) fn needed(delivery: Delivery, is_needed: bool) -> Delivery {
    match is_needed {
        true => Delivery { bare: Bare::KeepOld, ..delivery },
        false => delivery,
    }
}

fn of(kind: Kind) -> Delivery {
    let on_reload = Delivery {
        takes_up: TakesUp::OnReload,
        per_worker: false,
        stops_early: Duration::ZERO,
        bare: Bare::Nothing,
        takes_revoked: true,
    };
    let by_itself = |within| Delivery { takes_up: TakesUp::ByItself { within }, ..on_reload };
    let at_once = by_itself(Duration::ZERO);
    match kind {
        // It starts with any decodable file and with none at all not (1, 2).
        Kind::Nginx => Delivery { bare: Bare::Placeholder, ..on_reload },
        Kind::Lighttpd | Kind::Files => on_reload,
        // Told over its socket (51); it stops so long before nextUpdate (53).
        Kind::Haproxy => Delivery { stops_early: Duration::from_secs(300), ..at_once },
        // It does not start with a bad one, or without the one it names (60).
        Kind::Hitch => Delivery { bare: Bare::KeepOld, takes_revoked: false, ..on_reload },
        // With a bad one or without it, every TLS connection fails (62).
        Kind::Exim => {
            let soon = by_itself(EXIM_LOOKS);
            Delivery { bare: Bare::KeepOld, takes_revoked: false, ..soon }
        }
        Kind::Apache => at_once,
    }
}

/// Whether it chooses among its certificates by the names in them, where nothing else is said.
pub(super) fn chooses_by_certificate(kind: Kind) -> bool {
    matches!(kind, Kind::Haproxy | Kind::Lighttpd | Kind::Hitch | Kind::Exim)
}

/// Whether it takes responses with SHA-1 CertIDs only (49, 60).
pub(super) fn wants_sha1(kind: Kind) -> bool {
    matches!(kind, Kind::Haproxy | Kind::Hitch)
}

/// Its kind as far as reloads go.
pub(super) fn reload(kind: Kind) -> reload::Kind {
    match kind {
        Kind::Nginx => reload::Kind::Nginx,
        Kind::Haproxy => reload::Kind::Haproxy,
        Kind::Lighttpd => reload::Kind::Lighttpd,
        Kind::Hitch => reload::Kind::Hitch,
        Kind::Exim => reload::Kind::Exim,
        Kind::Apache => reload::Kind::Apache,
        Kind::Files => reload::Kind::Other,
    }
}
