//! Which pages there are, and what of them comes from the definitions of the command line.
//!
//! A source is Markdown: its first line `# NAME SECTION`, a `##` heading for each part of the page. A line
//! `<!-- usage -->`, `<!-- options -->`, `<!-- status -->` or `<!-- commands -->` stands for what clap knows
//! about the page's command. A command without a source has a page of these alone, and of the examples in
//! `examples/PAGE.md` where there are some.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use clap::{Arg, Command, CommandFactory as _};
use staplekeeper::cli::Cli;

use super::roff;

/// The release that the pages speak of.
const DATE: &str = "2026-11-22";

/// One man page.
pub(crate) struct Page {
    /// Its file's name: `staplekeeper-probe.8`.
    pub(crate) file: String,
    /// The Markdown that it is made from, everything filled in.
    #[allow(dead_code, reason = "tests read it")]
    pub(crate) markdown: String,
    /// man(7).
    pub(crate) roff: String,
}

/// Every page: those with a source in `folder`, and one for each other command.
///
/// # Errors
/// A source that cannot be read, or does not begin as it has to.
pub(crate) fn all(folder: &Path) -> io::Result<Vec<Page>> {
    let mut sources = BTreeMap::new();
    for command in commands(&program()) {
        let file = format!("staplekeeper-{}.8", command.get_name());
        let examples = match std::fs::read_to_string(folder.join(format!("examples/{file}.md"))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => format!("## EXAMPLES\n\n{}\n", text?),
        };
        sources.insert(file, skeleton(&command, &examples));
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            let file = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            sources.insert(file, std::fs::read_to_string(&path)?);
        }
    }
    sources.into_iter().map(|(file, source)| page(file, &source)).collect()
}

/// The program's commands as users see them.
fn program() -> Command {
    let mut program = Cli::command();
    program.build();
    program
}

fn commands(program: &Command) -> Vec<Command> {
    let shown = program.get_subcommands().filter(|one| !one.is_hide_set());
    shown.filter(|one| one.get_name() != "help").cloned().collect()
}

fn page(file: String, source: &str) -> io::Result<Page> {
    let wrong = || io::Error::other(format!("{file}: its first line is not `# NAME SECTION`"));
    let (first, rest) = source.split_once('\n').ok_or_else(wrong)?;
    let (name, section) =
        first.strip_prefix("# ").and_then(|it| it.split_once(' ')).ok_or_else(wrong)?;
    let program = program();
    let command = name.strip_prefix("staplekeeper-");
    let command = command.and_then(|name| program.find_subcommand(name)).unwrap_or(&program);
    let markdown: String = rest.lines().map(|line| filled(line, command)).collect();
    let version = concat!("staplekeeper ", env!("CARGO_PKG_VERSION"));
    let roff = format!(
        ".TH {} {section} \"{DATE}\" \"{version}\" \"staplekeeper\"\n{}",
        name.to_uppercase().replace('-', "\\-"),
        roff::from_markdown(&markdown)
    );
    Ok(Page { file, markdown, roff })
}

fn filled(line: &str, command: &Command) -> String {
    match line {
        "<!-- usage -->" => usage(command),
        "<!-- options -->" => options(command),
        "<!-- status -->" => {
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            sentence(after.strip_prefix("Exit status: ").unwrap_or(&after)) + "\n"
        }
        "<!-- commands -->" => commands(&program()).iter().map(entry).collect(),
        line => format!("{line}\n"),
    }
}

fn skeleton(command: &Command, examples: &str) -> String {
    let name = command.get_name();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let long = command.get_long_about().map_or_else(|| about.clone(), ToString::to_string);
    let status = command.get_after_help().map_or("", |_| "## EXIT STATUS\n\n<!-- status -->\n\n");
    format!(
        "# staplekeeper-{name} 8\n\n## NAME\n\nstaplekeeper-{name} - {}\n\n## SYNOPSIS\n\n\
         <!-- usage -->\n\n## DESCRIPTION\n\n{}\n\n## OPTIONS\n\n<!-- options -->\n\n{status}{examples}\
         ## SEE ALSO\n\n**staplekeeper**(8), **staplekeeper.toml**(5)\n",
        lower(&about),
        sentence(&long),
    )
}

fn lower(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// Clap's one-line words, as a sentence.
fn sentence(words: &str) -> String {
    let words = escape(words);
    if words.is_empty() || words.ends_with('.') { words } else { words + "." }
}

/// What would otherwise be Markdown's.
fn escape(text: &str) -> String {
    text.replace('<', "\\<").replace('*', "\\*").replace('_', "\\_")
}

fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let lines = usage.trim_start_matches("Usage:").lines().map(str::trim);
    let lines: Vec<String> = lines.map(|line| format!("`{line}`  ")).collect();
    lines.join("\n") + "\n"
}

/// The options and arguments of a command and of the commands below it.
fn options(command: &Command) -> String {
    let own = command.get_arguments().filter(|one| !one.is_hide_set());
    let mut text: String = own.map(option).collect();
    for below in command.get_subcommands().filter(|one| one.get_name() != "help") {
        if command.get_name() != "staplekeeper" {
            text += &entry_named(&format!("{} {}", command.get_name(), below.get_name()), below);
        }
    }
    text
}

fn option(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let value = || names.iter().map(|name| format!(" *{name}*")).collect::<String>();
    let takes = argument.get_action().takes_values();
    let short = argument.get_short().map(|short| format!("`-{short}`"));
    let long = argument.get_long().map(|long| format!("`--{long}`"));
    let flags: Vec<String> = short.into_iter().chain(long).collect();
    let head = match flags.is_empty() {
        true => value().trim_start().to_owned(),
        false => flags.join(", ") + &if takes { value() } else { String::new() },
    };
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string);
    let mut words = sentence(&help.unwrap_or_default());
    let defaults = argument.get_default_values().iter().map(|value| value.to_string_lossy());
    let defaults: Vec<_> = defaults.collect();
    if takes && !defaults.is_empty() {
        words += &format!(" Default: {}.", defaults.join(" "));
    }
    let possible = argument.get_possible_values();
    if takes && possible.len() > 1 {
        let names: Vec<_> = possible.iter().map(|one| one.get_name().to_owned()).collect();
        words += &format!(" One of {}.", names.join(", "));
    }
    format!("{head}\n: {}\n\n", words.replace('\n', "\n  "))
}

fn entry(command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let name = command.get_name();
    format!("**staplekeeper-{name}**(8)\n: {}\n\n", sentence(&about))
}

fn entry_named(name: &str, command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    format!("`{name}`\n: {}\n\n", sentence(&about))
}
