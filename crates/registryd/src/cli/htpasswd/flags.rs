//! The command line of Apache's `htpasswd`, which is older than the conventions of today.

use std::path::PathBuf;

/// What is to be done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Arguments {
    pub(super) action: Action,
    pub(super) password: PasswordFrom,
    pub(super) cost: Option<u32>,
    pub(super) user: String,
}

/// With which file, and what.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Action {
    /// `-n`: only show the line.
    Print,
    /// Add or change a user.
    Update(PathBuf),
    /// `-c`: in a new, empty file.
    Create(PathBuf),
    /// `-D`
    Delete(PathBuf),
    /// `-v`
    Verify(PathBuf),
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum PasswordFrom {
    /// Asked for, twice.
    Prompt,
    /// `-i`: one line of the standard input.
    Input,
    /// `-b`: on the command line.
    Argument(String),
    /// None is needed.
    Nowhere,
}

/// Why a command line is refused. All of these end with Apache's code for a syntax error.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Refused {
    /// With the text that explains the options.
    Usage(Option<String>),
    /// With this alone.
    Because(String),
}

impl Arguments {
    /// Reads what comes after the name of the program.
    pub(super) fn parse(arguments: &[String]) -> Result<Self, Refused> {
        let mut flags = Flags::default();
        let mut rest = arguments.iter();
        let mut operands = Vec::new();
        // As getopt does it here: options end at the first word that is none.
        while let Some(word) = rest.next() {
            let letters = match word.strip_prefix('-') {
                Some("-") => {
                    operands.extend(rest.by_ref().cloned());
                    break;
                }
                Some(letters) if !letters.is_empty() => letters,
                _ => {
                    operands.push(word.clone());
                    operands.extend(rest.by_ref().cloned());
                    break;
                }
            };
            if letters.starts_with('-') {
                return Err(Refused::Usage(None));
            }
            let mut letters = letters.chars();
            while let Some(letter) = letters.next() {
                if letter == 'C' || letter == 'r' {
                    let attached: String = letters.by_ref().collect();
                    let value = if attached.is_empty() {
                        rest.next().cloned().ok_or_else(|| {
                            Refused::Usage(Some(format!("missing argument to option -- {letter}")))
                        })?
                    } else {
                        attached
                    };
                    flags.value(letter, &value)?;
                } else {
                    flags.letter(letter)?;
                }
            }
        }
        flags.finish(operands)
    }
}

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are the flags")]
struct Flags {
    create: bool,
    print: bool,
    delete: bool,
    verify: bool,
    batch: bool,
    input: bool,
    /// The last algorithm that was named wins.
    algorithm: Option<char>,
    cost: Option<u32>,
}

impl Flags {
    fn letter(&mut self, letter: char) -> Result<(), Refused> {
        match letter {
            'c' => self.create = true,
            'n' => self.print = true,
            'D' => self.delete = true,
            'v' => self.verify = true,
            'b' => self.batch = true,
            'i' => self.input = true,
            'B' | 'm' | '2' | '5' | 'd' | 's' | 'p' => self.algorithm = Some(letter),
            _ => return Err(Refused::Usage(Some(format!("illegal option -- {letter}")))),
        }
        Ok(())
    }

    fn value(&mut self, letter: char, value: &str) -> Result<(), Refused> {
        // Rounds are for algorithms that are refused in any case.
        if letter == 'r' {
            return Ok(());
        }
        let cost = value.parse().map_err(|_| {
            Refused::Because(format!(
                "argument to -C must be a positive integer, not {value}"
            ))
        })?;
        self.cost = Some(cost);
        Ok(())
    }

    fn finish(self, operands: Vec<String>) -> Result<Arguments, Refused> {
        let modes = [self.create, self.print, self.delete, self.verify];
        if modes.iter().filter(|mode| **mode).count() > 1 {
            return Err(Refused::Because(
                "only one of -c -n -v -D may be specified".to_owned(),
            ));
        }
        if self.input && self.batch {
            return Err(Refused::Because(
                "only one of -i and -b may be specified".to_owned(),
            ));
        }
        if let Some(weak) = self
            .algorithm
            .and_then(weak)
            .filter(|_| !self.delete && !self.verify)
        {
            return Err(Refused::Because(weak));
        }
        let mut operands = operands.into_iter();
        let mut next = || operands.next().ok_or(Refused::Usage(None));
        let file = if self.print {
            None
        } else {
            Some(PathBuf::from(next()?))
        };
        let user = next()?;
        let password = match () {
            () if self.delete => PasswordFrom::Nowhere,
            () if self.batch => PasswordFrom::Argument(next()?),
            () if self.input => PasswordFrom::Input,
            () => PasswordFrom::Prompt,
        };
        if operands.next().is_some() {
            return Err(Refused::Usage(None));
        }
        let action = match file {
            None => Action::Print,
            Some(file) if self.create => Action::Create(file),
            Some(file) if self.delete => Action::Delete(file),
            Some(file) if self.verify => Action::Verify(file),
            Some(file) => Action::Update(file),
        };
        Ok(Arguments {
            action,
            password,
            cost: self.cost,
            user,
        })
    }
}

/// Why an algorithm is not used.
fn weak(letter: char) -> Option<String> {
    let what = match letter {
        'm' => "-m is apr1, a thousand rounds of MD5",
        '2' => "-2 is SHA-256 crypt, which registries do not verify",
        '5' => "-5 is SHA-512 crypt, which registries do not verify",
        'd' => "-d is the old crypt, which looks at eight characters",
        's' => "-s is SHA-1 without salt",
        'p' => "-p is no hash at all",
        _ => return None,
    };
    Some(format!(
        "{what}; registries accept bcrypt only: use -B, or none of these options"
    ))
}

/// What Apache's program says about its options, with those that are refused marked.
pub(super) const USAGE: &str = "\
Usage:
\thtpasswd [-ciBDv] [-C cost] passwordfile username
\thtpasswd -b[cBDv] [-C cost] passwordfile username password

\thtpasswd -n[iB] [-C cost] username
\thtpasswd -nb[B] [-C cost] username password
 -c  Create a new file.
 -n  Don't update file; display results on stdout.
 -b  Use the password from the command line rather than prompting for it.
 -i  Read password from stdin without verification (for script usage).
 -B  Force bcrypt hashing of the password (default).
 -C  Set the computing time used for the bcrypt algorithm
     (higher is more secure but slower, default: 10, valid: 4 to 14).
 -D  Delete the specified user.
 -v  Verify password for the specified user.
The weaker algorithms -m, -2, -5, -d, -s and -p are refused: registries accept bcrypt only.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, Refused> {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        Arguments::parse(&words)
    }

    #[test]
    fn short_flags_combine_as_with_getopt() {
        let print = Arguments {
            action: Action::Print,
            password: PasswordFrom::Argument("p".to_owned()),
            cost: None,
            user: "u".to_owned(),
        };
        for line in ["-Bbn u p", "-n -b -B u p", "-nbm -B u p", "-nb -- u p"] {
            assert_eq!(parse(line).as_ref(), Ok(&print), "{line}");
        }
        for line in ["-nbC5 u p", "-nbBC 5 u p", "-C 5 -nb u p"] {
            assert_eq!(parse(line).unwrap().cost, Some(5), "{line}");
        }
        let created = parse("-cBb f u p").unwrap();
        assert_eq!(created.action, Action::Create("f".into()));
        let deleted = parse("-D f u").unwrap();
        assert_eq!(deleted.action, Action::Delete("f".into()));
        assert_eq!(deleted.password, PasswordFrom::Nowhere);
        assert_eq!(parse("-iB f u").unwrap().password, PasswordFrom::Input);
        assert_eq!(parse("f u").unwrap().password, PasswordFrom::Prompt);
    }

    #[test]
    fn a_weak_algorithm_is_refused_with_the_reason() {
        for letter in ['m', '2', '5', 'd', 's', 'p'] {
            let Err(Refused::Because(why)) = parse(&format!("-nb{letter} u p")) else {
                panic!("-{letter} was accepted");
            };
            assert!(why.contains("bcrypt"), "{why}");
        }
    }

    #[test]
    fn contradictions_and_gaps_are_refused() {
        for line in ["-cn f u", "-cD f u", "-vn u", "-ib f u p", "-nbC x u p"] {
            assert!(matches!(parse(line), Err(Refused::Because(_))), "{line}");
        }
        for line in ["f", "-nb u", "-n u extra", "-x u", "--help", "-nbC"] {
            assert!(matches!(parse(line), Err(Refused::Usage(_))), "{line}");
        }
    }
}
