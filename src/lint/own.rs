//! What the agent itself may not do, and what it is not told to.

use std::collections::BTreeMap;

use super::finding::{Finding, Severity, Step};
use super::view::{Block, Reload, Unwritable, View};
use crate::discover::{Kind, Problem, ServerModel};

/// Our responder's address over TCP, unless it is configured.
const TCP: &str = "127.0.0.1:8889";

/// Our responder's URL over TCP, as it is or as it is going to be.
pub(super) fn tcp_url(view: &View<'_>) -> String {
    view.responder.tcp.clone().unwrap_or_else(|| format!("http://{TCP}/"))
}

/// The same over a Unix socket, as nginx writes it.
pub(super) fn unix_url(view: &View<'_>) -> String {
    let usual = || format!("http://unix:{}/responder.sock:/", view.own.runtime.display());
    view.responder.unix.clone().unwrap_or_else(usual)
}

/// Has our responder listen on TCP, if it does not.
pub(super) fn listen_tcp(view: &View<'_>) -> Option<Step> {
    view.responder.tcp.is_none().then(|| listen(view, TCP.to_owned()))
}

/// Has our responder listen on its Unix socket, if it does not.
pub(super) fn listen_unix(view: &View<'_>) -> Option<Step> {
    let socket = format!("unix:{}/responder.sock", view.own.runtime.display());
    view.responder.unix.is_none().then(|| listen(view, socket))
}

fn listen(view: &View<'_>, address: String) -> Step {
    let mut all = view.own.listen.clone();
    all.push(address);
    let all: Vec<_> = all.iter().map(|one| format!("{one:?}")).collect();
    let line = format!("listen = [{}]", all.join(", "));
    set(view, "responder", view.own.responder_lines, "listen", line)
}

/// Sets a key of our own configuration.
fn set(view: &View<'_>, table: &str, lines: (u32, u32), key: &str, line: String) -> Step {
    let file = view.own.config.display().to_string();
    match lines {
        (0, _) => Step::Append {
            file,
            what: format!("a [{table}] table"),
            lines: vec![format!("[{table}]"), line],
        },
        (header, 0) => Step::Add { file, line: header, above: false, lines: vec![line] },
        (_, at) => Step::Replace { file, line: at, directive: key.to_owned(), lines: vec![line] },
    }
}

/// Sets `reload_at_most_every`.
pub(super) fn reload_every(view: &View<'_>, length: &str) -> Step {
    let key = "reload_at_most_every";
    set(view, "schedule", view.own.schedule_lines, key, format!("{key} = {length:?}"))
}

/// Staple files that the agent cannot write.
pub(super) fn targets(view: &View<'_>, blocks: &[Block<'_>], found: &mut Vec<Finding>) {
    let mut told = BTreeMap::new();
    for block in blocks.iter().filter(|block| block.is_answered()) {
        let Some(target) = block.deployment.target() else { continue };
        // nginx would look for a file of just that name: a rule of its own says what to write instead.
        let nginx = block.model.kind == Kind::Nginx;
        if nginx && super::nginx::has_variable(&target.theirs.to_string_lossy()) {
            continue;
        }
        let Some(why) = view.unwritable.get(&target.ours) else { continue };
        let Some(file) = &block.deployment.stapling_file else { continue };
        told.entry(target.ours.clone()).or_insert((block, &file.origin, why));
    }
    for (path, (block, origin, why)) in told {
        let grave = if block.must().is_some() { Severity::Error } else { Severity::Warning };
        let folder = path.parent().unwrap_or(&path).display();
        let fix = match why {
            Unwritable::ToAdopt => vec![Step::run("staplekeeper adopt")],
            Unwritable::Refused(reason) => vec![
                Step::act(format!(
                    "`staplekeeper adopt` refuses it ({reason}): make the folder root's alone, such as by \
                     `chown root: {folder} && chmod 755 {folder}`, or name a file in {}",
                    view.own.staples.display()
                )),
                Step::run("staplekeeper adopt"),
            ],
        };
        found.push(Finding {
            what: format!("the agent (user {}) may not write {}", view.own.user, path.display()),
            why: "the staple that lies there, if any, is never refreshed".to_owned(),
            certificates: block.all_names(),
            server: Some(block.model.kind.to_string()),
            fix,
            ..Finding::at("target-not-writable", grave, origin)
        });
    }
}

/// A server whose configuration could not be read to its end: nobody knows what stands in the rest.
pub(super) fn unread(model: &ServerModel) -> Option<Finding> {
    if model.complete {
        return None;
    }
    // What is at fault comes before mere remarks.
    let fault = model.problems.first();
    let reason = fault.map_or_else(String::new, |fault| format!(": {fault}"));
    let file = fault.map(|fault| &fault.path).or(model.config.as_ref());
    Some(Finding {
        file: file.map(|path| path.display().to_string()),
        line: fault.map_or(0, |fault| fault.line),
        server: Some(model.kind.to_string()),
        what: format!(
            "the configuration of this {} could not be read to its end{reason}",
            model.kind
        ),
        why: "what stands in the rest of it is not judged".to_owned(),
        fix: vec![Step::act(match fault.and_then(Problem::hint) {
            Some(hint) => hint,
            None => format!("mend it, until {} itself takes it", model.kind),
        })],
        ..Finding::of("not-judged", Severity::Warning)
    })
}

/// Whether a server with staples to take up can be told so.
pub(super) fn reload(
    view: &View<'_>,
    server: usize,
    blocks: &[Block<'_>],
    found: &mut Vec<Finding>,
) {
    let model = &view.scan.servers[server];
    // The others take up new files by themselves or ask our responder.
    let needs = matches!(model.kind, Kind::Nginx | Kind::Lighttpd | Kind::Hitch);
    let stapled =
        blocks.iter().filter(|block| block.deployment.target().is_some() && block.is_answered());
    let (count, must) = (stapled.clone().count(), stapled.clone().any(|one| one.must().is_some()));
    let Some(reload) = view.reloads.get(server).filter(|_| needs && count > 0) else { return };
    let config = model.config.as_ref().map(|path| path.display().to_string());
    let line = view.own.reload_lines.get(server).copied().unwrap_or(0);
    let ours = |line: u32| (Some(view.own.config.display().to_string()), line);
    let kind = model.kind;
    let (what, fix, (file, line)) = match reload {
        Reload::Fine => return,
        Reload::Off => {
            let file = view.own.config.display().to_string();
            let directive = "reload".to_owned();
            let fix = vec![Step::Remove { file, line, directive }];
            (format!("nobody reloads this {kind}: `reload = \"none\"`"), fix, ours(line))
        }
        Reload::NoRule { unit } => {
            let what =
                format!("no polkit rule lets the agent (user {}) reload {unit}", view.own.user);
            (what, vec![polkit(unit, &view.own.user)], (config, 0))
        }
        Reload::NotOurs { pid_file, uid } => {
            let what = format!(
                "the agent (user {}) may not signal the {kind} of {}, which belongs to uid {uid}",
                view.own.user,
                pid_file.display()
            );
            let unit = format!("{kind}.service");
            let file = view.own.config.display().to_string();
            let with = format!("reload = \"systemd:{unit}\"");
            let mode = match line {
                0 => Step::act(format!(
                    "write `{with}` into the [[server]] of this {kind} in {file}"
                )),
                line => {
                    Step::Replace { file, line, directive: "reload".to_owned(), lines: vec![with] }
                }
            };
            let fix = vec![mode, polkit(&unit, &view.own.user)];
            (what, fix, ours(line))
        }
    };
    found.push(Finding {
        file,
        line,
        what,
        why: format!(
            "{kind} takes up new staples at a reload only: {count} of its blocks go on with old ones until \
             they run out"
        ),
        server: Some(kind.to_string()),
        fix,
        ..Finding::of(
            "reload-not-allowed",
            if must { Severity::Error } else { Severity::Warning },
        )
    });
}

/// The rule that lets the agent reload one unit, and nothing else.
fn polkit(unit: &str, user: &str) -> Step {
    let lines = [
        "polkit.addRule(function(action, subject) {".to_owned(),
        "  if (action.id == \"org.freedesktop.systemd1.manage-units\" &&".to_owned(),
        format!(
            "      action.lookup(\"unit\") == \"{unit}\" && action.lookup(\"verb\") == \"reload\" &&"
        ),
        format!("      subject.user == \"{user}\") {{"),
        "    return polkit.Result.YES;".to_owned(),
        "  }".to_owned(),
        "});".to_owned(),
    ];
    let stem = unit.trim_end_matches(".service");
    Step::Append {
        file: format!("/etc/polkit-1/rules.d/50-staplekeeper-{stem}.rules"),
        what: "a polkit rule".to_owned(),
        lines: lines.into(),
    }
}
