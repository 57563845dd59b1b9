//! The two text formats. OpenMetrics 1.0 is what the encoder writes; the older 0.0.4, which the textfile
//! collector and tools at the shell read, differs in the lines of comment only.

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;

use super::{Counters, PREFIX, Snapshot};

/// Writes everything: `open` for OpenMetrics, else 0.0.4.
pub(in crate::agent) fn render(counters: &Counters, snapshot: Snapshot, open: bool) -> String {
    let mut standing = Registry::with_prefix(PREFIX);
    standing.register_collector(Box::new(snapshot));
    let mut text = String::new();
    let written = encode_registry(&mut text, &standing)
        .and_then(|()| encode_registry(&mut text, &counters.registry))
        .and_then(|()| encode_eof(&mut text));
    written.expect("a string takes whatever is written");
    if open { text } else { older(&text) }
}

/// OpenMetrics in the words of 0.0.4: a counter is called what its sample is called, `info` is a gauge.
fn older(text: &str) -> String {
    let mut older = String::with_capacity(text.len());
    let mut help: Option<(&str, &str)> = None;
    for line in text.split_inclusive('\n') {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.trim_end().split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            if let Some((_, words)) = help.take() {
                older += &format!("# HELP {name}{suffix} {words}");
            }
            older += &format!("# TYPE {name}{suffix} {kind}\n");
        } else if !line.starts_with("# ") {
            older += line;
        }
    }
    older
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_names_what_it_describes() {
        let open = "# HELP a_fetch Requests.\n# TYPE a_fetch counter\na_fetch_total{b=\"# c\"} 1\n\
                    # HELP a_build The version\n# TYPE a_build info\na_build_info{v=\"1\"} 1\n\
                    # HELP a_up Up.\n# TYPE a_up gauge\n# UNIT a_up x\na_up 0\n# EOF\n";
        let wanted = "# HELP a_fetch_total Requests.\n# TYPE a_fetch_total counter\n\
                      a_fetch_total{b=\"# c\"} 1\n# HELP a_build_info The version\n\
                      # TYPE a_build_info gauge\na_build_info{v=\"1\"} 1\n\
                      # HELP a_up Up.\n# TYPE a_up gauge\na_up 0\n";
        assert_eq!(older(open), wanted);
    }
}
