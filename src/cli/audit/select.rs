//! The lines of the trail that concern one certificate.

use std::collections::HashSet;

use serde_json::Value;

use crate::audit::Line;

/// Reads lines in their order and says which concern a certificate: those that name it or its fingerprint,
/// those about the targets its staples were published to, those about the servers that read them,
/// and those about everything.
pub(super) struct Select {
    name: Option<String>,
    /// Renewed certificates have the same name.
    fingerprints: HashSet<String>,
    targets: HashSet<String>,
    servers: HashSet<String>,
}

impl Select {
    /// For this name or fingerprint; `None`: every line.
    pub(super) fn new(name: Option<&str>) -> Select {
        let fingerprints = name.filter(|name| name.len() == 64).map(str::to_owned);
        Select {
            name: name.map(str::to_owned),
            fingerprints: fingerprints.into_iter().collect(),
            targets: HashSet::new(),
            servers: HashSet::new(),
        }
    }

    /// Whether any line spoke of the certificate.
    pub(super) fn is_known(&self) -> bool {
        !self.fingerprints.is_empty()
    }

    /// Whether the next line concerns it.
    pub(super) fn takes(&mut self, line: &Line) -> bool {
        let Some(name) = &self.name else { return true };
        let Ok(entry) = serde_json::to_value(&line.entry) else { return false };
        let word = |key: &str| entry.get(key).and_then(Value::as_str);
        if let Some(certificate) = entry.get("certificate") {
            let is = |key: &str| certificate.get(key).and_then(Value::as_str).unwrap_or_default();
            if is("name") == name {
                self.fingerprints.insert(is("fingerprint").to_owned());
            }
            let ours = self.fingerprints.contains(is("fingerprint"));
            if let (true, Some(target)) = (ours, word("target")) {
                self.targets.insert(target.to_owned());
                let servers = entry.get("servers").and_then(Value::as_array).into_iter().flatten();
                self.servers.extend(servers.filter_map(Value::as_str).map(str::to_owned));
            }
            return ours;
        }
        if let Some(target) = word("target") {
            return self.targets.contains(target);
        }
        if let Some(server) = word("server") {
            return self.servers.contains(server);
        }
        if let Some(names) = entry.get("names").and_then(Value::as_array) {
            return names.is_empty() || names.iter().any(|one| one.as_str() == Some(name));
        }
        matches!(
            word("event"),
            Some("started" | "by-hand" | "stopping" | "lines-lost" | "trail-damaged")
        )
    }
}
