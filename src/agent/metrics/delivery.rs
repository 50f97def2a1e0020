//! Series of what delivery is to be watched for, beside its counts.

use prometheus::{IntCounter, Registry, Result};

use super::family::counter;

pub(super) struct DeliveryMetrics {
    pub(super) sent_after_key_expiry: IntCounter,
    pub(super) receipts_missed: IntCounter,
}

impl DeliveryMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self> {
        Ok(Self {
            sent_after_key_expiry: counter(
                r,
                "sent_after_key_expiry_total",
                "Requests made after the upstream had forgotten the record's Idempotency-Key.",
            )?,
            receipts_missed: counter(
                r,
                "receipts_missed_total",
                "Deliveries of which no receipt could be written; they are delivered and counted all the same.",
            )?,
        })
    }
}
