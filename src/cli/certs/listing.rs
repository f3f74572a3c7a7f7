//! The list of what is in `kubeadm-certs`, and the verdict whether a join can use it.

use std::collections::BTreeMap;

use bootstrap::kubeadm::{CertEntry, CertSet, EntryKind, Expiration, SealedCerts, Validity};
use comfy_table::{CellAlignment, Table, presets};
use jiff::Timestamp;

use crate::exit::Stop;

/// Bytes that sealing adds to a file: nonce and tag.
const SEAL_BYTES: usize = 28;

/// Everything that is listed, ready to print.
pub(super) struct Listing {
    headline: String,
    rows: Vec<Row>,
}

/// One entry of the Secret.
struct Row {
    name: String,
    content: String,
    bytes: usize,
    ends: String,
    state: String,
    good: bool,
}

impl Listing {
    pub(super) fn new(sealed: &SealedCerts, opened: Option<&CertSet>, now: Timestamp) -> Self {
        let findings = opened.map(|certs| findings(certs, now));
        let ends = opened.map(ends).unwrap_or_default();
        let mut rows: Vec<_> = sealed
            .sizes()
            .map(|(name, size)| Row::new(name, size, findings.as_ref(), &ends))
            .collect();
        let order = sealed.topology().entries();
        let place = |row: &Row| order.iter().position(|entry| entry.data_key() == row.name);
        rows.sort_by_key(|row| place(row).unwrap_or(order.len()));
        let headline = format!(
            "Secret kubeadm-certs in kube-system: {} entries, {}",
            rows.len(),
            sealed.topology()
        );
        Self { headline, rows }
    }

    pub(super) fn page(&self, life: &str) -> String {
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_header(["NAME", "CONTENT", "BYTES", "ENDS", "STATE"]);
        if let Some(column) = table.column_mut(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for row in &self.rows {
            let bytes = row.bytes.to_string();
            table.add_row([&row.name, &row.content, &bytes, &row.ends, &row.state]);
        }
        let lines = table.lines().map(|line| line.trim_end().to_owned());
        let table: Vec<_> = lines.collect();
        format!("{}\n{life}\n\n{}\n", self.headline, table.join("\n"))
    }

    /// Fails if a join would.
    pub(super) fn verdict(&self) -> anyhow::Result<()> {
        let bad: Vec<_> = self.rows.iter().filter(|row| !row.good).collect();
        if bad.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = bad.iter().map(|row| row.name.as_str()).collect();
        Err(Stop::failed(format!(
            "not fit for a join: {}; mend the files on a master and upload again",
            names.join(", ")
        ))
        .into())
    }
}

impl Row {
    fn new(
        name: &str,
        size: usize,
        findings: Option<&BTreeMap<CertEntry, String>>,
        ends: &BTreeMap<CertEntry, String>,
    ) -> Self {
        let entry = CertEntry::from_data_key(name);
        let finding = entry.and_then(|entry| findings?.get(&entry));
        let (state, good) = match (entry, finding) {
            (None, _) if findings.is_some() => ("foreign, sealed with the key".to_owned(), true),
            (None, _) => ("foreign; joins fail unless it is sealed".to_owned(), true),
            (_, Some(finding)) => (finding.clone(), false),
            (_, None) if size <= SEAL_BYTES => ("empty".to_owned(), true),
            (_, None) if findings.is_some() => ("good".to_owned(), true),
            _ => ("sealed".to_owned(), true),
        };
        Self {
            // Names come from the cluster, so no control character may reach the terminal.
            name: name.chars().filter(|c| !c.is_control()).collect(),
            content: entry.map_or("unknown", |entry| content(entry.kind())).to_owned(),
            bytes: size.saturating_sub(SEAL_BYTES),
            ends: entry.and_then(|entry| ends.get(&entry)).cloned().unwrap_or_else(|| "-".into()),
            state,
            good,
        }
    }
}

/// What is wrong, by entry.
fn findings(certs: &CertSet, now: Timestamp) -> BTreeMap<CertEntry, String> {
    let mut findings = BTreeMap::new();
    for dates in certs.certificates() {
        match dates.validity(now) {
            Validity::Current => continue,
            Validity::NotYet => {
                findings.insert(dates.entry, "not valid yet; is the clock right?".to_owned())
            }
            Validity::Expired => findings.insert(dates.entry, "expired".to_owned()),
        };
    }
    for defect in certs.defects() {
        findings.insert(defect.entry(), defect.to_string());
    }
    findings
}

/// When the certificates end.
fn ends(certs: &CertSet) -> BTreeMap<CertEntry, String> {
    let dates = certs.certificates().into_iter();
    dates.map(|dates| (dates.entry, Expiration::utc(dates.not_after).to_string())).collect()
}

fn content(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Authority => "CA certificate",
        EntryKind::Certificate => "certificate",
        EntryKind::PrivateKey => "private key",
        EntryKind::PublicKey => "public key",
    }
}
