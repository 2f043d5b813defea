//! One table a section: the macro that makes the struct, its defaults and the description of its keys from one text.

use super::value::{Raw, Setting};

/// One key of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Its name in the file.
    pub name: &'static str,
    /// What it means, line by line, as in the example file.
    pub doc: &'static [&'static str],
}

/// A section of the settings, seen as a table of keys.
pub(super) trait Section {
    /// The name in the file; empty for the keys at the top.
    fn name(&self) -> &'static str;
    /// What the section is about, line by line.
    fn doc(&self) -> &'static [&'static str];
    /// Its keys, in the order of the example file.
    fn keys(&self) -> &'static [Key];
    /// Sets a key; the error says what is wrong with the value. The name must be one of [`Section::keys`].
    fn set(&mut self, name: &str, raw: Raw<'_>) -> Result<(), String>;
    /// The value of a key, as it stands in a file.
    fn value(&self, name: &str) -> Option<toml::Value>;
}

/// Reads one value into its place.
pub(super) fn assign<T: Setting>(place: &mut T, raw: Raw<'_>) -> Result<(), String> {
    *place = T::read(raw)?;
    Ok(())
}

/// Declares sections: `"name" Type { /// doc \n key: Type = default; … }`.
macro_rules! sections {
    ($(
        $(#[doc = $section_doc:literal])*
        $section:literal $name:ident {
            $( $(#[doc = $doc:literal])* $key:ident: $type:ty = $default:expr; )*
        }
    )*) => { $(
        $(#[doc = $section_doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $( $(#[doc = $doc])* pub $key: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $key: $default, )* }
            }
        }

        impl Section for $name {
            fn name(&self) -> &'static str {
                $section
            }

            fn doc(&self) -> &'static [&'static str] {
                &[$($section_doc),*]
            }

            fn keys(&self) -> &'static [Key] {
                &[$( Key { name: stringify!($key), doc: &[$($doc),*] }, )*]
            }

            fn set(&mut self, name: &str, raw: Raw<'_>) -> Result<(), String> {
                match name {
                    $( stringify!($key) => assign(&mut self.$key, raw), )*
                    _ => Err("no such key".to_owned()),
                }
            }

            fn value(&self, name: &str) -> Option<toml::Value> {
                match name {
                    $( stringify!($key) => Some(Setting::write(&self.$key)), )*
                    _ => None,
                }
            }
        }
    )* };
}

pub(super) use sections;
