//! Tests of `spool`.
