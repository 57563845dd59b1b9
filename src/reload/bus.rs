//! systemd's manager over D-Bus: queue a reload, wait for its job's result.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::timeout;
use zbus::export::futures_core::Stream;
use zbus::message::Type;
use zbus::{Connection, DBusError, Error, MatchRule, MessageStream, OwnedObjectPath};

use super::ReloadError;

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const PATH: &str = "/org/freedesktop/systemd1";

/// The system bus.
pub(super) async fn connect() -> zbus::Result<Connection> {
    Connection::system().await
}

/// Queues the reload and waits for its job's result.
pub(super) async fn reload(
    bus: &Connection,
    unit: &str,
    limit: Duration,
) -> Result<(), ReloadError> {
    match timeout(limit, result_of_reload(bus, unit)).await {
        Ok(Ok(result)) => judge(unit, &result),
        Ok(Err(error)) => Err(refusal(unit, error)),
        Err(_) => Err(ReloadError::UnitTooLong { unit: unit.to_owned(), limit }),
    }
}

async fn result_of_reload(bus: &Connection, unit: &str) -> zbus::Result<String> {
    let rule = MatchRule::builder()
        .msg_type(Type::Signal)
        .sender(SYSTEMD)
        .interface(MANAGER)
        .member("JobRemoved")
        .build()?;
    // A job may end before its number is known here, so listening comes first.
    let mut removed = MessageStream::for_match_rule(rule, bus, None).await?;
    bus.call_method(Some(SYSTEMD), PATH, Some(MANAGER), "Subscribe", &()).await?;
    let arguments = (unit, "replace");
    let reply = bus.call_method(Some(SYSTEMD), PATH, Some(MANAGER), "ReloadUnit", &arguments);
    let job: OwnedObjectPath = reply.await?.body().deserialize()?;
    while let Some(signal) = poll_fn(|context| Pin::new(&mut removed).poll_next(context)).await {
        let signal = signal?;
        let body = signal.body();
        let (_, path, _, result): (u32, OwnedObjectPath, String, String) = body.deserialize()?;
        if path == job {
            return Ok(result);
        }
    }
    Err(Error::InputOutput(std::sync::Arc::new(std::io::ErrorKind::BrokenPipe.into())))
}

/// JobRemoved's result, in the words of org.freedesktop.systemd1(5).
fn judge(unit: &str, result: &str) -> Result<(), ReloadError> {
    let unit = unit.to_owned();
    match result {
        "done" => Ok(()),
        // "invalid": what systemd says to reloading a unit that does not run.
        "invalid" => Err(ReloadError::UnitInactive { unit }),
        _ => Err(ReloadError::Unit { unit, result: result.to_owned() }),
    }
}

fn refusal(unit: &str, error: Error) -> ReloadError {
    let unit = unit.to_owned();
    let name = match &error {
        Error::MethodError(name, _, _) => name.to_string(),
        Error::FDO(error) => error.name().to_string(),
        _ => String::new(),
    };
    let short = name.rsplit('.').next().unwrap_or_default();
    match short {
        "AccessDenied" | "InteractiveAuthorizationRequired" => ReloadError::Forbidden { unit },
        "NoSuchUnit" => ReloadError::NoSuchUnit { unit },
        "JobTypeNotApplicable" => ReloadError::NoReload { unit },
        _ => ReloadError::Bus { unit, source: Box::new(error) },
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use tempfile::TempDir;
    use zbus::connection::Builder;

    use super::*;

    /// A private bus; its daemon ends with it.
    struct Bus(Child, TempDir);

    impl Bus {
        fn start() -> Option<Bus> {
            let folder = tempfile::tempdir().expect("a temp folder");
            let socket = folder.path().join("bus");
            let configuration = format!(
                r#"<busconfig><type>custom</type><listen>unix:path={}</listen>
                <policy context="default"><allow send_destination="*" eavesdrop="true"/>
                <allow eavesdrop="true"/><allow own="*"/></policy></busconfig>"#,
                socket.display()
            );
            let path = folder.path().join("bus.conf");
            std::fs::write(&path, configuration).expect("the folder is ours");
            let mut daemon = Command::new("dbus-daemon");
            daemon.arg("--nofork").arg("--config-file").arg(&path).stdin(Stdio::null());
            let daemon = daemon.spawn().ok()?;
            while !socket.exists() {
                std::thread::sleep(Duration::from_millis(2));
            }
            Some(Bus(daemon, folder))
        }

        async fn connect(&self) -> Connection {
            let address = format!("unix:path={}", self.1.path().join("bus").display());
            let bus = Builder::address(address.as_str());
            bus.build().await.expect("the daemon answers")
        }
    }

    impl Drop for Bus {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// Answers as systemd does: each unit's name is what becomes of its reload.
    async fn stand_in(bus: Connection) {
        let mut calls = MessageStream::from(&bus);
        let name = (SYSTEMD, 0_u32);
        let dbus = Some("org.freedesktop.DBus");
        let path = "/org/freedesktop/DBus";
        bus.call_method(dbus, path, dbus, "RequestName", &name).await.expect("it is free");
        while let Some(Ok(call)) = poll_fn(|at| Pin::new(&mut calls).poll_next(at)).await {
            let header = call.header();
            match header.member().map(|member| member.as_str()) {
                Some("Subscribe") => bus.reply(&header, &()).await.expect("sent"),
                Some("ReloadUnit") => {
                    let body = call.body();
                    let (unit, mode): (&str, &str) = body.deserialize().expect("two strings");
                    assert_eq!(mode, "replace");
                    answer(&bus, &call, unit).await;
                }
                _ => {}
            }
        }
    }

    async fn answer(bus: &Connection, call: &zbus::Message, unit: &str) {
        let header = call.header();
        if let Some(error) = unit.strip_prefix("error.") {
            return bus.reply_error(&header, error, &"words").await.expect("sent");
        }
        let job = |number: u32| {
            let path = format!("{PATH}/job/{number}");
            OwnedObjectPath::try_from(path).expect("a path")
        };
        let removed = async |number: u32, result: &str| {
            let signal = (number, job(number), unit, result);
            let to = None::<&str>;
            bus.emit_signal(to, PATH, MANAGER, "JobRemoved", &signal).await.expect("sent");
        };
        // Another unit's job ends first, and ours before its number is told.
        removed(6, "failed").await;
        if unit != "slow" {
            removed(7, unit).await;
        }
        bus.reply(&header, &job(7)).await.expect("sent");
    }

    #[tokio::test]
    async fn jobs_are_waited_for() {
        let Some(bus) = Bus::start() else {
            return eprintln!("skipped: dbus-daemon is not installed");
        };
        let systemd = tokio::spawn(stand_in(bus.connect().await));
        let client = bus.connect().await;
        while client
            .call_method(Some(SYSTEMD), PATH, Some(MANAGER), "Subscribe", &())
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let cases = [
            ("done", "done"),
            ("failed", "systemd's reload of failed ended with result \"failed\""),
            ("invalid", "invalid is not active"),
            ("slow", "systemd's reload of slow did not end within 0s"),
            ("error.org.freedesktop.DBus.Error.AccessDenied", "not allowed to have systemd"),
            (
                "error.org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
                "not allowed to have systemd",
            ),
            ("error.org.freedesktop.systemd1.NoSuchUnit", "systemd knows no unit"),
            ("error.org.freedesktop.systemd1.JobTypeNotApplicable", "no ExecReload="),
            ("error.org.freedesktop.systemd1.Other", "cannot ask systemd to reload"),
        ];
        for (unit, expected) in cases {
            let said = match reload(&client, unit, Duration::from_millis(300)).await {
                Ok(()) => "done".to_owned(),
                Err(error) => error.to_string(),
            };
            assert!(said.contains(expected), "{unit}: {said}");
        }
        systemd.abort();
    }
}
