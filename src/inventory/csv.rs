//! The inventory as RFC 4180 CSV: a row for each place a certificate is presented, and one for a
//! certificate that no server presents.

use super::Deployed;
use super::{Entry, Inventory};

/// The first row.
const HEADER: [&str; 20] = [
    "name",
    "fingerprint",
    "serial",
    "subject",
    "names",
    "issuer",
    "root",
    "key_type",
    "must_staple",
    "not_before",
    "not_after",
    "ocsp_urls",
    "certificate",
    "server",
    "file",
    "line",
    "server_names",
    "stapling",
    "published",
    "published_where",
];

/// The inventory as CSV, UTF-8 with CRLF at the end of each row; several values in a field are separated by
/// blanks.
///
/// # Errors
/// None in practice: memory takes all.
pub fn csv(inventory: &Inventory) -> Result<String, ::csv::Error> {
    let mut writer =
        ::csv::WriterBuilder::new().terminator(::csv::Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(HEADER)?;
    for entry in &inventory.certificates {
        for deployed in &entry.deployments {
            writer.write_record(row(entry, Some(deployed)).map(cell))?;
        }
        if entry.deployments.is_empty() {
            writer.write_record(row(entry, None).map(cell))?;
        }
    }
    let bytes = writer.into_inner().map_err(|error| error.into_error())?;
    Ok(String::from_utf8(bytes).expect("it was made of text"))
}

/// Spreadsheets run what begins like a formula, and names in certificates are anybody's: a quote before it
/// makes it text. Control characters go.
fn cell(text: String) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let mut text = text;
    text.retain(|character| !character.is_control());
    if formula || text.starts_with(['=', '+', '-', '@']) {
        text.insert(0, '\'');
    }
    text
}

fn row(entry: &Entry, deployed: Option<&Deployed>) -> [String; HEADER.len()] {
    let yes = |on: bool| (if on { "yes" } else { "no" }).to_owned();
    let of = |tell: fn(&Deployed) -> String| deployed.map(tell).unwrap_or_default();
    let certificate = deployed.map(|one| one.certificate.clone());
    [
        entry.name.clone(),
        entry.fingerprint.to_string(),
        entry.serial.clone(),
        entry.subject.clone(),
        entry.names.join(" "),
        entry.issuer.clone(),
        entry.root.clone().unwrap_or_default(),
        entry.key_type.clone(),
        yes(entry.must_staple),
        entry.not_before.to_string(),
        entry.not_after.to_string(),
        entry.ocsp_urls.join(" "),
        certificate.unwrap_or_else(|| entry.files.join(" ")),
        of(|one| one.server.clone()),
        of(|one| one.file.clone()),
        of(|one| one.line.to_string()),
        of(|one| one.names.join(" ")),
        deployed.map(|one| yes(one.stapling)).unwrap_or_default(),
        of(|one| one.published.word().to_owned()),
        of(|one| one.published.place().unwrap_or_default().to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn no_cell_is_a_formula() {
        for (name, shown) in [
            ("www.example.org", "www.example.org"),
            ("*.example.org", "*.example.org"),
            ("=HYPERLINK(\"http://x/\")", "'=HYPERLINK(\"http://x/\")"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'=1"),
            ("\u{1}=1", "'=1"),
            ("a\r\nb\u{1b}[2J", "ab[2J"),
        ] {
            assert_eq!(cell(name.to_owned()), shown);
        }
    }
}
