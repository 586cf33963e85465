//! Enumerations whose variants have names: as they are typed, shown and sent.

/// Defines such an enumeration, with `ALL`, `name()`, `Display` and `FromStr`: each variant is `Variant = "name",`.
#[macro_export]
macro_rules! named {
    ($(#[$about:meta])* $vis:vis enum $type:ident { $($(#[$about_one:meta])* $one:ident = $name:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $vis enum $type { $($(#[$about_one])* $one,)+ }

        impl $type {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$one,)+];

            /// As it is typed, shown and sent.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$one => $name,)+ }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::NotOneOf;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let found = Self::ALL.iter().find(|one| one.name() == text);
                found.copied().ok_or($crate::NotOneOf(&[$($name,)+]))
            }
        }
    };
}

/// A text that is none of these names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected one of: {}", .0.join(", "))]
pub struct NotOneOf(pub &'static [&'static str]);
