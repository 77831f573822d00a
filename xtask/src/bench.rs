//! The cargo profiles that the benchmarks are built with.

use crate::Failure;

/// Splits `--profile NAME` from the other arguments, and returns the profiles to measure.
///
/// The default is cargo's release profile, with which most users build.
pub(crate) fn profiles(args: Vec<String>) -> Result<(&'static [&'static str], Vec<String>), Failure> {
    let mut profiles = PROFILES[0].1;
    let (mut others, mut words) = (Vec::new(), args.into_iter());
    while let Some(word) = words.next() {
        if word != "--profile" {
            others.push(word);
            continue;
        }
        let name = words.next().unwrap_or_default();
        let known = PROFILES.iter().find(|(known, _)| *known == name);
        profiles = known.ok_or_else(|| format!("--profile {name:?}: use release, dist or both"))?.1;
    }
    let writes_file = others.iter().any(|word| word.starts_with("--json") || word.starts_with("--svg"));
    if profiles.len() > 1 && writes_file {
        return Err("--profile both would write the same file twice; run each profile with its own file".to_owned());
    }
    Ok((profiles, others))
}

/// `dist` is the profile of released binaries, with fat LTO.
const PROFILES: &[(&str, &[&str])] = &[("release", &["release"]), ("dist", &["dist"]), ("both", &["release", "dist"])];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<(&'static [&'static str], Vec<String>), Failure> {
        profiles(words.iter().map(|&word| word.to_owned()).collect())
    }

    #[test]
    fn the_profile_is_separated_from_the_other_arguments() {
        assert_eq!(parse(&["--quick"]).unwrap(), (&["release"][..], vec!["--quick".to_owned()]));
        let (profiles, others) = parse(&["--only", "get-1", "--profile", "both"]).unwrap();
        assert_eq!((profiles, others.join(" ").as_str()), (&["release", "dist"][..], "--only get-1"));
    }

    #[test]
    fn an_unknown_profile_and_a_file_for_two_profiles_are_refused() {
        assert!(parse(&["--profile", "debug"]).unwrap_err().contains("debug"));
        assert!(parse(&["--profile"]).is_err());
        assert!(parse(&["--profile", "both", "--json", "x"]).unwrap_err().contains("same file"));
        assert!(parse(&["--profile", "dist", "--json", "x"]).is_ok());
    }
}
