//! Enumerations whose variants have names, which travel as JSON too.

/// As [`envelope::named`], with serde's traits: each name is its variant's in kebab case.
macro_rules! named {
    ($(#[$about:meta])* pub enum $type:ident { $($body:tt)* }) => {
        envelope::named! {
            $(#[$about])*
            #[derive(serde::Serialize, serde::Deserialize)]
            #[serde(rename_all = "kebab-case")]
            pub enum $type { $($body)* }
        }
    };
}

pub(crate) use named;
