//! Writes the man pages into a folder: `cargo run --example man -- FOLDER`.

mod pages;
mod roff;

use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1).expect("usage: man FOLDER");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    for page in pages::all(&sources)? {
        std::fs::write(Path::new(&folder).join(&page.file), page.roff)?;
    }
    Ok(())
}
