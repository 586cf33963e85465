//! Enumerations whose variants have names: as they are typed, shown and sent.

/// Defines such an enumeration, with `ALL`, `name()`, `Display`, `FromStr` and serde's traits.
macro_rules! named {
    (
        $(#[$about:meta])*
        pub enum $type:ident {
            $(#[$about_first:meta])* $first:ident = $first_name:literal
            $(, $(#[$about_more:meta])* $more:ident = $more_name:literal)* $(,)?
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $type {
            $(#[$about_first])* #[serde(rename = $first_name)] $first,
            $($(#[$about_more])* #[serde(rename = $more_name)] $more,)*
        }

        impl $type {
            /// All of them.
            pub const ALL: &[Self] = &[Self::$first, $(Self::$more),*];

            /// As it is typed and shown.
            pub const fn name(self) -> &'static str {
                match self {
                    Self::$first => $first_name,
                    $(Self::$more => $more_name,)*
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = envelope::NotAPattern;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let found = Self::ALL.iter().find(|one| one.name() == text);
                let names = concat!("one of: ", $first_name $(, ", ", $more_name)*);
                found.copied().ok_or_else(|| envelope::NotAPattern::new(text, names))
            }
        }
    };
}

pub(crate) use named;
