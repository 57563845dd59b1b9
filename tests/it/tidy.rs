//! Reads the sources to see that the architecture stays what `src/lib.rs` says.

use std::fs;
use std::path::{Path, PathBuf};

/// Core modules: values in, values out.
const CORE: &[&str] = &["digest", "happening", "ocsp", "pki", "plan", "time"];
/// Modules that act on the world, one per stage; none knows another.
const SHELL: &[&str] = &[
    "audit", "clock", "confirm", "discover", "fetch", "hooks", "publish", "reload", "serve",
    "store",
];
/// What shell modules may share besides the core: means of acting, without a policy.
const SUPPORT: &[&str] = &["command", "files"];

/// Modules that judge what `discover` found: values in, values out, like the core.
const JUDGES: &[&str] = &["inventory", "lint"];
/// What the core and those that judge do without.
const OUTSIDE: &[&str] =
    &["tokio", "std::fs", "std::net", "std::env", "std::process", "Instant::now"];

#[test]
fn judges_know_values_only() {
    for module in JUDGES {
        for (path, code) in sources(module) {
            let used = OUTSIDE.iter().find(|word| code.contains(**word));
            assert_eq!(used, None, "{} judges and must not use it", path.display());
            let others = SHELL.iter().chain(SUPPORT).chain(&["agent", "cli", "config"]);
            for other in others.filter(|other| **other != "discover") {
                assert!(!imports(&code, other), "{} judges and imports {other}", path.display());
            }
        }
    }
}

#[test]
fn core_modules_know_values_only() {
    for module in CORE {
        for (path, code) in sources(module) {
            let used = OUTSIDE.iter().find(|word| code.contains(**word));
            assert_eq!(used, None, "{} is core and must not use it", path.display());
            for shell in SHELL.iter().chain(SUPPORT).chain(&["agent", "cli", "config"]) {
                assert!(!imports(&code, shell), "{} is core and imports {shell}", path.display());
            }
        }
    }
}

#[test]
fn shell_modules_import_core_only() {
    for module in SHELL {
        for (path, code) in sources(module) {
            for other in SHELL.iter().chain(&["agent", "cli", "config"]) {
                let foreign = other != module && imports(&code, other);
                assert!(!foreign, "{} imports {other}", path.display());
            }
        }
    }
}

#[test]
fn support_modules_know_no_stage() {
    for module in SUPPORT {
        for (path, code) in sources(module) {
            for stage in SHELL.iter().chain(&["agent", "cli", "config"]) {
                assert!(!imports(&code, stage), "{} imports {stage}", path.display());
            }
        }
    }
}

#[test]
fn only_the_agent_and_commands_bring_stages_together() {
    for (path, code) in sources("config") {
        for stage in ["agent", "cli"] {
            assert!(!imports(&code, stage), "{} imports {stage}", path.display());
        }
    }
}

#[test]
fn commands_share_the_words_for_formats() {
    let alike = |code: &str| {
        let of = code.split("enum Format {").nth(1)?.split('}').next()?;
        Some(of.split_whitespace().collect::<Vec<_>>() == ["Text,", "Json,"])
    };
    let files: Vec<_> =
        sources("cli").into_iter().filter(|(_, code)| alike(code) == Some(true)).collect();
    let names: Vec<_> = files.iter().map(|(path, _)| path.display().to_string()).collect();
    assert_eq!(names.len(), 1, "the same enum in {}", names.join(", "));
}

fn imports(code: &str, module: &str) -> bool {
    code.contains(&format!("crate::{module}::")) || code.contains(&format!("crate::{module};"))
}

/// What commands print may name files, whose names are anybody's: it goes by way of `cli::say`.
#[test]
fn commands_say_what_they_say_in_one_place() {
    for (path, code) in sources("cli") {
        let words = ["anstream::", "println!(", "print!("];
        let used = words.iter().find(|word| code.contains(**word));
        let is_say = path.ends_with("say.rs");
        assert!(is_say || used.is_none(), "{} prints by {used:?}", path.display());
    }
}

/// The files of a module with their code, comments and tests left out.
fn sources(module: &str) -> Vec<(PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src.join(module), &mut files);
    let single = src.join(format!("{module}.rs"));
    files.extend(single.exists().then_some(single));
    files.into_iter().map(|path| (path.clone(), code(&path))).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("the source tree can be read").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file is UTF-8");
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}
