//! The spool and the schedule: a segment log that is the truth, a sled index over it.
