//! Sender Rewriting Scheme: SRS0 and SRS1, encode and decode, pure.
