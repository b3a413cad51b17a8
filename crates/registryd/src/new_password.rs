//! Passwords that nobody has thought of.

/// A new password that nobody has thought of: 120 bits, in letters and digits that are not mistaken for
/// one another.
pub(crate) fn generate() -> anyhow::Result<String> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut random = [0; 24];
    getrandom::fill(&mut random)
        .map_err(|error| anyhow::anyhow!("no random bytes for a password: {error}"))?;
    let letter = |byte: &u8| LETTERS.get(usize::from(*byte) % LETTERS.len()).copied();
    Ok(random.iter().filter_map(letter).map(char::from).collect())
}
