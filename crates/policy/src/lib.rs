//! May this happen? Facts, ordered rules, a verdict.
