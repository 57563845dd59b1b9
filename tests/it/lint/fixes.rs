//! Does what `lint` prints, line by line, as somebody would who thinks no further.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::host::Host;

/// What is to become of one line.
#[derive(Default)]
struct Edit {
    above: Vec<String>,
    /// The line itself: its directive, and what comes in its place.
    instead: Option<(String, Vec<String>)>,
    below: Vec<String>,
}

/// Carries out every fix: people's part, then the files, then the commands. Steps that several findings
/// share are done once.
pub(super) fn carry_out(host: &mut Host, findings: &[Value]) {
    let mut done = HashSet::new();
    let mut edits: BTreeMap<PathBuf, BTreeMap<usize, Edit>> = BTreeMap::new();
    let mut appended: Vec<(PathBuf, Vec<String>)> = Vec::new();
    let mut commands = Vec::new();
    for finding in findings {
        let steps = finding["fix"].as_array().expect("steps");
        assert!(!steps.is_empty(), "a finding without a fix: {finding}");
        let mut acted = false;
        for step in steps {
            let kind = step["do"].as_str().expect("a kind");
            if kind == "act" {
                if !std::mem::replace(&mut acted, true) {
                    let certificate = finding["certificate"].as_str().unwrap_or_default();
                    host.act(finding["rule"].as_str().expect("a rule"), certificate);
                }
                continue;
            }
            if !done.insert(step.to_string()) {
                continue;
            }
            if kind == "run" {
                commands.push(step["command"].as_str().expect("a command").to_owned());
                continue;
            }
            let file = PathBuf::from(step["file"].as_str().expect("a file"));
            let lines: Vec<String> =
                step["lines"].as_array().map(|lines| strings(lines)).unwrap_or_default();
            if kind == "append" {
                appended.push((file, lines));
                continue;
            }
            let line = usize::try_from(step["line"].as_u64().expect("a line")).expect("it fits");
            let edit = edits.entry(file).or_default().entry(line).or_default();
            let directive = step["directive"].as_str().unwrap_or_default().to_owned();
            match kind {
                "add" if step["above"] == true => edit.above.extend(lines),
                "add" => edit.below.extend(lines),
                "remove" | "replace" => {
                    assert!(edit.instead.is_none(), "two fixes for one line: {step}");
                    edit.instead = Some((directive, lines));
                }
                kind => panic!("an unknown step {kind}"),
            }
        }
    }
    edits.iter().for_each(|(file, edits)| rewrite(file, edits));
    for (file, lines) in appended {
        let mut text = fs::read_to_string(&file).unwrap_or_default();
        text.push_str(&(lines.join("\n") + "\n"));
        fs::write(file, text).expect("ours");
    }
    commands.iter().for_each(|command| host.run(command));
}

fn rewrite(file: &Path, edits: &BTreeMap<usize, Edit>) {
    let text =
        fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut new = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let Some(edit) = edits.get(&number) else {
            new.push(line.to_owned());
            continue;
        };
        new.extend(edit.above.clone());
        match &edit.instead {
            Some((directive, lines)) => {
                assert!(
                    line.trim().starts_with(directive.as_str()),
                    "{directive} is not in {line:?}"
                );
                new.extend(lines.clone());
            }
            None => new.push(line.to_owned()),
        }
        new.extend(edit.below.clone());
    }
    fs::write(file, new.join("\n") + "\n").expect("ours");
}

fn strings(values: &[Value]) -> Vec<String> {
    values.iter().map(|value| value.as_str().expect("text").to_owned()).collect()
}
