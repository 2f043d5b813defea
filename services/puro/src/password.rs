//! Passwords that the program makes.

use secrecy::SecretString;

/// Letters and digits that are not mistaken for one another in print; 32 of them, so that five random bits pick one.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Groups of letters, and letters in a group: 100 bits together.
const GROUPS: usize = 4;
const LETTERS: usize = 5;

/// Returns a random password of 100 bits, such as `k3m9x-…`.
///
/// # Errors
/// The system gives no random octets.
pub(crate) fn generate() -> Result<SecretString, getrandom::Error> {
    let mut random = [0u8; GROUPS * LETTERS];
    getrandom::fill(&mut random)?;
    let groups: Vec<String> = random
        .chunks(LETTERS)
        .map(|group| group.iter().map(|octet| char::from(ALPHABET[usize::from(octet & 31)])).collect())
        .collect();
    Ok(groups.join("-").into())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn passwords_differ_and_have_a_form() {
        let (one, other) = (generate().unwrap(), generate().unwrap());
        assert_ne!(one.expose_secret(), other.expose_secret());
        assert_eq!(one.expose_secret().len(), 23);
    }

    #[test]
    fn letters_are_all_different() {
        let mut letters = ALPHABET.to_vec();
        letters.sort_unstable();
        letters.dedup();
        assert_eq!(letters.len(), ALPHABET.len());
    }
}
