//! A node's part of what several have together.

/// Of all nodes at work, this is the one with that number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Which of the nodes, from 0.
    pub number: u32,
    /// How many they are; at least 1.
    pub nodes: u32,
}

impl Default for Share {
    /// All of it.
    fn default() -> Self {
        let (number, nodes) = (0, 1);
        Self { number, nodes }
    }
}

impl Share {
    /// Of so many whole things; the first nodes have what is over.
    pub fn of(self, all: u32) -> u32 {
        let nodes = self.nodes.max(1);
        all / nodes + u32::from(self.number < all % nodes)
    }
}
