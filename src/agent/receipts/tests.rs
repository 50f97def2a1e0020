//! Tests of receipts: lines, ids, looking up.
