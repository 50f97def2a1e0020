//! Tests of `whereabouts`.
