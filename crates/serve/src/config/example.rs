//! The settings as a file: the commented example, and the effective ones.

use super::{Settings, load::variable, section::Section};

const HEAD: &str = "\
# Settings of PuRo Mail. Every key is here, with its default; a file need only hold what differs.
# Order: defaults, this file (--config FILE or PURO_CONFIG), environment, flags (--set KEY=VALUE).
# Written by a test from crates/serve/src/config/settings.rs; do not edit by hand.
";

/// Returns the example file: every key with its meaning, its environment variable and its default.
#[must_use]
pub fn example() -> String {
    let settings = Settings::default();
    settings.sections().into_iter().fold(HEAD.to_owned(), |mut text, section| {
        text.push('\n');
        comment(&mut text, section.doc());
        if !section.name().is_empty() {
            text.push_str(&format!("[{}]\n", section.name()));
        }
        for key in section.keys() {
            text.push('\n');
            comment(&mut text, key.doc);
            comment(&mut text, &[&format!(" ({})", variable(&path(section, key.name)))]);
            text.push_str(&line(section, key.name));
        }
        text
    })
}

/// Returns the settings as a file that gives them again. No setting holds a secret.
#[must_use]
pub fn print(settings: &Settings) -> String {
    settings.sections().into_iter().fold(String::new(), |mut text, section| {
        if !section.name().is_empty() {
            text.push_str(&format!("\n[{}]\n", section.name()));
        }
        section.keys().iter().for_each(|key| text.push_str(&line(section, key.name)));
        text
    })
}

fn path(section: &dyn Section, name: &str) -> String {
    if section.name().is_empty() { name.to_owned() } else { format!("{}.{name}", section.name()) }
}

fn line(section: &dyn Section, name: &str) -> String {
    section.value(name).map(|value| format!("{name} = {value}\n")).unwrap_or_default()
}

fn comment(text: &mut String, lines: &[&str]) {
    lines.iter().for_each(|line| text.push_str(&format!("#{line}\n")));
}
