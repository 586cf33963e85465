//! The resolver as mail sees it: MX, addresses, text, with hickory behind it.
