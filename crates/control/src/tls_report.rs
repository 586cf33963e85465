//! A report of TLS with the hosts of a domain: the JSON of RFC 8460 §4.4, as it is sent, and as the daemon keeps it.

#![expect(missing_docs, reason = "named as in RFC 8460 §4.4")]

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One day's report for one domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TlsReport {
    pub organization_name: String,
    pub date_range: DateRange,
    pub contact_info: String,
    /// The same for the same day and domain, however often it is sent.
    pub report_id: String,
    pub policies: Vec<TlsPolicyRow>,
}

/// From its first second to its last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DateRange {
    pub start_datetime: String,
    pub end_datetime: String,
}

/// What was found under one policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TlsPolicyRow {
    pub policy: PolicyShown,
    pub summary: SessionCounts,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failure_details: Vec<FailureRow>,
}

/// A policy of DANE or MTA-STS, or that there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PolicyShown {
    /// `tlsa`, `sts`, `no-policy-found`.
    pub policy_type: String,
    /// TLSA records, or the lines of the MTA-STS policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy_string: Vec<String>,
    pub policy_domain: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mx_host: Vec<String>,
}

/// Sessions that TLS went well with, and others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SessionCounts {
    pub total_successful_session_count: u64,
    pub total_failure_session_count: u64,
}

/// What was wrong with one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FailureRow {
    /// The result type of RFC 8460 §4.3.
    pub result_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sending_mta_ip: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiving_mx_hostname: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiving_ip: Option<IpAddr>,
    pub failed_session_count: u64,
    pub failure_reason_code: String,
}
