//! The checks of the load harness's own tools: source against destination, with what goes wrong in between.

#![expect(dead_code, reason = "only a part of the harness is tried here")]

mod latency;
mod load;
mod sink;
mod stamp;

/// One file for each tool, and the tools against each other.
mod tests {
    mod latency;
    mod stamp;
    mod template;
}
