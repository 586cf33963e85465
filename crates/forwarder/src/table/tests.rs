//! Tests of loading and looking up.
