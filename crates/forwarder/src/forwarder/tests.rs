//! Tests of forwarder.
